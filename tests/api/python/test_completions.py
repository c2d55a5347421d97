"""Text completions through the openai package."""
import unittest

from clients import MODEL, client, tokens_of

FACT = "The capital of Japan is"


class Completions(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def complete(self, prompt, **options):
        options = {"model": MODEL, "temperature": 0, "max_tokens": 8} | options
        return self.client.completions.create(prompt=prompt, **options)

    def test_a_text_is_continued(self):
        answer = self.complete(FACT)
        self.assertEqual(answer.object, "text_completion")
        self.assertIn("Tokyo", answer.choices[0].text)

    def test_a_stream_gives_the_same_text(self):
        chunks = list(self.complete(FACT, stream=True, stream_options={"include_usage": True}))
        self.assertEqual("".join(c.text for chunk in chunks for c in chunk.choices),
                         self.complete(FACT).choices[0].text)
        self.assertEqual(chunks[-1].usage.completion_tokens, 8)

    def test_a_list_of_prompts_gives_a_choice_each(self):
        prompts = ["The capital of Peru is", FACT, "Once upon a time"]
        answer = self.complete(prompts)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2])
        alone = [self.complete(p) for p in prompts]
        self.assertEqual([c.text for c in answer.choices], [a.choices[0].text for a in alone])
        self.assertEqual(answer.usage.prompt_tokens, sum(a.usage.prompt_tokens for a in alone))
        self.assertEqual(answer.usage.completion_tokens, sum(a.usage.completion_tokens for a in alone))

    def test_prompts_as_tokens_are_read(self):
        tokens = tokens_of(FACT)
        for prompt in (tokens, [tokens]):
            self.assertEqual(self.complete(prompt).choices[0].text, self.complete(FACT).choices[0].text)

    def test_n_gives_choices_per_prompt(self):
        answer = self.complete([FACT, "Once upon a time"], n=2)
        self.assertEqual([c.index for c in answer.choices], [0, 1, 2, 3])
        self.assertEqual(answer.choices[0].text, answer.choices[1].text)
        self.assertNotEqual(answer.choices[1].text, answer.choices[2].text)

    def test_echo_returns_the_prompt_with_its_logprobs(self):
        answer = self.complete(FACT, echo=True, logprobs=2, max_tokens=4)
        choice = answer.choices[0]
        self.assertTrue(choice.text.startswith(FACT))
        logprobs = choice.logprobs
        self.assertEqual("".join(logprobs.tokens), choice.text)
        count = answer.usage.prompt_tokens + 4
        for values in (logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset):
            self.assertEqual(len(values), count)
        # Nothing comes before the first token, so nothing predicts it.
        self.assertIsNone(logprobs.token_logprobs[0])
        self.assertTrue(all(p <= 0 for p in logprobs.token_logprobs[1:]))
        for offset, token in zip(logprobs.text_offset, logprobs.tokens):
            self.assertEqual(choice.text[offset:offset + len(token)], token)

    def test_echo_without_new_tokens_scores_a_text(self):
        choice = self.complete(FACT + " Tokyo.", echo=True, logprobs=0, max_tokens=0).choices[0]
        self.assertEqual(choice.text, FACT + " Tokyo.")
        wrong = self.complete(FACT + " Lima.", echo=True, logprobs=0, max_tokens=0).choices[0]
        self.assertGreater(sum(choice.logprobs.token_logprobs[1:]) / len(choice.logprobs.tokens),
                           sum(wrong.logprobs.token_logprobs[1:]) / len(wrong.logprobs.tokens))

    def test_the_same_seed_gives_the_same_text(self):
        def sample():
            return self.complete("Once upon a time", temperature=1.5, seed=5, max_tokens=24).choices[0].text

        self.assertEqual(sample(), sample())
