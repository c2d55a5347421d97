"""Chat completions through the openai package."""
import asyncio
import math
import unittest

import openai

from clients import BASE_URL, HELLO, MODEL, ask, client, tokens_of


class Whole(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def chat(self, messages, **options):
        options = {"model": MODEL, "temperature": 0, "max_tokens": 64} | options
        return self.client.chat.completions.create(messages=messages, **options)

    def test_a_greeting_is_answered(self):
        answer = self.chat(HELLO)
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.choices[0].message.content, "Hello! How can I help you today?")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertTrue(answer.id)
        self.assertGreater(answer.created, 0)

    def test_the_demo_model_knows_a_capital_and_counts(self):
        self.assertEqual(self.chat(ask("What is the capital of France?")).choices[0].message.content,
                         "The capital of France is Paris.")
        self.assertEqual(self.chat(ask("Count from 1 to 10.")).choices[0].message.content,
                         "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.")

    def test_the_answer_names_the_model_that_is_served(self):
        self.assertEqual(self.chat(HELLO).model, self.client.models.list().data[0].id)

    def test_usage_counts_prompt_and_answer(self):
        usage = self.chat(HELLO).usage
        self.assertGreater(usage.prompt_tokens, 0)
        self.assertGreater(usage.completion_tokens, 0)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreaterEqual(usage.prompt_tokens_details.cached_tokens, 0)

    def test_usage_counts_every_choice_once(self):
        one = self.chat(HELLO).usage
        two = self.chat(HELLO, n=2)
        self.assertEqual(sorted(c.index for c in two.choices), [0, 1])
        self.assertEqual([c.message.content for c in two.choices], ["Hello! How can I help you today?"] * 2)
        self.assertEqual(two.usage.prompt_tokens, one.prompt_tokens)
        self.assertEqual(two.usage.completion_tokens, 2 * one.completion_tokens)

    def test_more_choices_than_slots_are_queued(self):
        answer = self.chat(HELLO, n=9, temperature=1, seed=3)
        self.assertEqual(sorted(c.index for c in answer.choices), list(range(9)))

    def test_max_tokens_ends_with_length(self):
        for limit in ("max_tokens", "max_completion_tokens"):
            answer = self.client.chat.completions.create(
                model=MODEL, messages=ask("Tell me a story about a fox."), temperature=0, **{limit: 5})
            self.assertEqual(answer.choices[0].finish_reason, "length", limit)
            self.assertEqual(answer.usage.completion_tokens, 5, limit)

    def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(self):
        for stop in ("5", ["nothing", ", 5"]):
            answer = self.chat(ask("Count from 1 to 10."), stop=stop)
            self.assertEqual(answer.choices[0].finish_reason, "stop")
            self.assertEqual(answer.choices[0].message.content.rstrip(", "), "1, 2, 3, 4")

    def test_the_beginning_of_a_stop_string_at_the_end_is_text(self):
        whole = self.chat(ask("Count from 1 to 10."), max_tokens=6).choices[0].message.content
        self.assertTrue(whole)
        cut = self.chat(ask("Count from 1 to 10."), max_tokens=6, stop=[whole[-1] + "never"])
        self.assertEqual(cut.choices[0].message.content, whole)

    def test_logprobs_cover_every_token(self):
        answer = self.chat(HELLO, logprobs=True, top_logprobs=3)
        tokens = answer.choices[0].logprobs.content
        self.assertEqual("".join(t.token for t in tokens), answer.choices[0].message.content)
        for token in tokens:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertLessEqual(token.logprob, 0)
            self.assertEqual(bytes(token.bytes).decode(), token.token)
            best = max(token.top_logprobs, key=lambda t: t.logprob)
            self.assertEqual(best.token, token.token)
            self.assertLessEqual(sum(math.exp(t.logprob) for t in token.top_logprobs), 1.001)

    def test_logprobs_without_top_logprobs_list_no_alternatives(self):
        answer = self.chat(HELLO, logprobs=True)
        self.assertTrue(all(t.top_logprobs == [] for t in answer.choices[0].logprobs.content))

    def test_logit_bias_forbids_a_token(self):
        answer = self.chat(HELLO, logit_bias={str(tokens_of("Hello")[0]): -100})
        self.assertFalse(answer.choices[0].message.content.startswith("Hello"))

    def test_the_same_seed_gives_the_same_text(self):
        def sample(seed):
            return self.chat(ask("Tell me a story."), temperature=2, top_p=1, seed=seed, max_tokens=48,
                             extra_body={"top_k": 0, "min_p": 0}).choices[0].message.content

        self.assertEqual(sample(7), sample(7))
        self.assertGreater(len({sample(seed) for seed in range(5)}), 1)

    def test_text_beyond_ascii_arrives_whole(self):
        self.assertEqual(self.chat(ask("Say hello in Japanese.")).choices[0].message.content, "こんにちは")

    def test_earlier_turns_and_content_parts_are_read(self):
        answer = self.chat([
            {"role": "system", "content": [{"type": "text", "text": "You are a helpful assistant."}]},
            {"role": "user", "content": [{"type": "text", "text": "My name is Alice."}]},
            {"role": "assistant", "content": "Nice to meet you, Alice!"},
            {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]}])
        self.assertIn("Alice", answer.choices[0].message.content)


class Streamed(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def chunks(self, messages, **options):
        options = {"model": MODEL, "temperature": 0, "max_tokens": 64} | options
        return list(self.client.chat.completions.create(messages=messages, stream=True, **options))

    @staticmethod
    def text(chunks, index=0):
        return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices
                       if choice.index == index)

    def test_the_pieces_are_the_whole_answer(self):
        chunks = self.chunks(HELLO)
        self.assertEqual(self.text(chunks), "Hello! How can I help you today?")
        self.assertGreater(len(chunks), 3)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        reasons = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
        self.assertEqual(reasons, ["stop"])

    def test_usage_comes_once_when_asked_for(self):
        chunks = self.chunks(HELLO, stream_options={"include_usage": True})
        with_usage = [chunk for chunk in chunks if chunk.usage]
        self.assertEqual(len(with_usage), 1)
        self.assertEqual(with_usage[0].choices, [])
        self.assertIs(with_usage[0], chunks[-1])
        self.assertEqual(with_usage[0].usage.total_tokens,
                         with_usage[0].usage.prompt_tokens + with_usage[0].usage.completion_tokens)
        self.assertTrue(all(chunk.usage is None for chunk in self.chunks(HELLO)))

    def test_choices_are_told_apart(self):
        chunks = self.chunks(HELLO, n=2, stream_options={"include_usage": True})
        for index in (0, 1):
            self.assertEqual(self.text(chunks, index), "Hello! How can I help you today?")

    def test_logprobs_come_with_the_pieces(self):
        chunks = self.chunks(HELLO, logprobs=True, top_logprobs=2)
        tokens = [t.token for chunk in chunks for c in chunk.choices if c.logprobs for t in c.logprobs.content or []]
        self.assertEqual("".join(tokens), self.text(chunks))

    def test_stop_strings_are_never_sent_in_part(self):
        self.assertEqual(self.text(self.chunks(ask("Count from 1 to 10."), stop=[", 5, 6"])), "1, 2, 3, 4")

    def test_emoji_are_never_split(self):
        text = self.text(self.chunks(ask("Send me a rocket emoji.")))
        self.assertEqual(text, "Here you are: 🚀")

    def test_the_same_seed_gives_the_same_text_as_without_a_stream(self):
        options = {"temperature": 1.2, "seed": 11, "max_tokens": 32}
        whole = self.client.chat.completions.create(model=MODEL, messages=ask("Tell me a story."), **options)
        self.assertEqual(self.text(self.chunks(ask("Tell me a story."), **options)),
                         whole.choices[0].message.content)

    def test_the_stream_helper_collects_the_answer(self):
        with self.client.chat.completions.stream(model=MODEL, messages=HELLO, temperature=0, max_tokens=64) as stream:
            stream.until_done()
            answer = stream.get_final_completion()
        self.assertEqual(answer.choices[0].message.content, "Hello! How can I help you today?")

    def test_requests_right_behind_finished_streams_use_the_same_connection(self):
        for _ in range(20):
            chunks = self.chunks(HELLO, max_tokens=3, stream_options={"include_usage": True})
            self.assertTrue(chunks[-1].usage)

    def test_a_client_that_goes_away_does_not_hold_its_slot(self):
        never_ends = {str(token): -100 for token in tokens_of("<|im_end|><|endoftext|>")}
        for _ in range(8):
            stream = self.client.chat.completions.create(
                model=MODEL, messages=ask("Count from 1 to 60."), temperature=1, stream=True, max_tokens=3000,
                logit_bias=never_ends)
            next(iter(stream))
            stream.close()
        answer = self.client.with_options(timeout=20).chat.completions.create(
            model=MODEL, messages=HELLO, temperature=0, max_tokens=64)
        self.assertEqual(answer.choices[0].message.content, "Hello! How can I help you today?")


class Parallel(unittest.IsolatedAsyncioTestCase):
    async def test_many_requests_at_once_do_not_mix(self):
        questions = {"What is the capital of Japan?": "The capital of Japan is Tokyo.",
                     "Count from 1 to 5.": "1, 2, 3, 4, 5.",
                     "Hello": "Hello! How can I help you today?",
                     "What is the opposite of hot?": "The opposite of hot is cold."}
        async with openai.AsyncOpenAI(base_url=BASE_URL + "/v1", api_key="none", max_retries=0) as many:
            async def one(question):
                answer = await many.chat.completions.create(
                    model=MODEL, messages=ask(question), temperature=0, max_tokens=64)
                return question, answer.choices[0].message.content

            answers = await asyncio.gather(*(one(q) for q in list(questions) * 6))
        for question, answer in answers:
            self.assertEqual(answer, questions[question])
