"""Anthropic's messages through the anthropic package."""
import asyncio
import os
import unittest

import anthropic

from clients import AUTH_BASE_URL, BASE_URL, HELLO, MODEL, ask, client as openai_client

GREETING = "Hello! How can I help you today?"
TOOL = {
    "name": "get_weather",
    "description": "Get the current weather for a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "City name"}},
        "required": ["city"],
    },
}
QUESTION = ask("What is the weather in Paris?")
RESULT = "18 degrees, sunny"


def client(base_url=BASE_URL, api_key="no key needed", kind=anthropic.Anthropic, **options):
    return kind(base_url=base_url, api_key=api_key, max_retries=0, timeout=60, **options)


class Messages(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def create(self, messages, **options):
        options = {"model": MODEL, "max_tokens": 120, "extra_body": {"temperature": 0}} | options
        return self.client.messages.create(messages=messages, **options)

    def stream(self, messages, **options):
        options = {"model": MODEL, "max_tokens": 120, "extra_body": {"temperature": 0}} | options
        return self.client.messages.stream(messages=messages, **options)

    def test_a_greeting_is_answered_as_by_chat(self):
        answer = self.create(HELLO)
        self.assertEqual((answer.type, answer.role, answer.stop_reason), ("message", "assistant", "end_turn"))
        self.assertEqual([block.type for block in answer.content], ["text"])
        self.assertEqual(answer.content[0].text, GREETING)
        self.assertTrue(answer._request_id)
        with openai_client() as openai:
            chat = openai.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=120)
        self.assertEqual(chat.choices[0].message.content, GREETING)
        usage = answer.usage
        self.assertEqual(usage.input_tokens + usage.cache_read_input_tokens, chat.usage.prompt_tokens)
        self.assertEqual(usage.output_tokens, chat.usage.completion_tokens)

    def test_the_pieces_of_a_stream_are_the_whole_answer(self):
        with self.stream(HELLO) as stream:
            pieces = list(stream.text_stream)
            answer = stream.get_final_message()
        self.assertGreater(len(pieces), 1)
        self.assertEqual("".join(pieces), GREETING)
        self.assertEqual(answer.content[0].text, GREETING)
        self.assertEqual(answer.stop_reason, "end_turn")
        self.assertGreater(answer.usage.output_tokens, 0)

    def test_raw_events_come_in_order(self):
        events = [event.type for event in self.create(HELLO, stream=True)]
        self.assertEqual(events[:2], ["message_start", "content_block_start"])
        self.assertEqual(events[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(events[2:-3]), {"content_block_delta"})

    def test_a_call_and_its_result_make_an_answer(self):
        for streamed in (False, True):
            if streamed:
                with self.stream(QUESTION, tools=[TOOL]) as stream:
                    answer = stream.get_final_message()
            else:
                answer = self.create(QUESTION, tools=[TOOL])
            self.assertEqual(answer.stop_reason, "tool_use")
            call = answer.content[-1]
            self.assertEqual((call.type, call.name, call.input), ("tool_use", "get_weather", {"city": "Paris"}))
            result = {"type": "tool_result", "tool_use_id": call.id, "content": RESULT}
            content = [block.model_dump(exclude_none=True) for block in answer.content]
            history = QUESTION + [{"role": "assistant", "content": content}, {"role": "user", "content": [result]}]
            said = self.create(history, tools=[TOOL])
            self.assertIn(RESULT, said.content[0].text)

    def test_a_tool_that_must_be_called_is_called(self):
        for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}):
            answer = self.create(QUESTION, tools=[TOOL], tool_choice=choice)
            self.assertEqual(answer.content[0].name, "get_weather")
        none = self.create(QUESTION, tools=[TOOL], tool_choice={"type": "none"})
        self.assertNotEqual(none.stop_reason, "tool_use")

    def test_answers_say_why_they_ended(self):
        count = ask("Count from 1 to 10.")
        stopped = self.create(count, stop_sequences=[", 5"])
        self.assertEqual((stopped.stop_reason, stopped.stop_sequence), ("stop_sequence", ", 5"))
        self.assertEqual(stopped.content[0].text, "1, 2, 3, 4")
        cut = self.create(count, max_tokens=5)
        self.assertEqual((cut.stop_reason, cut.usage.output_tokens), ("max_tokens", 5))

    def test_tokens_are_counted_as_they_are_read(self):
        options = {"model": MODEL, "system": "Be brief.", "tools": [TOOL]}
        counted = self.client.messages.count_tokens(messages=QUESTION, **options).input_tokens
        usage = self.create(QUESTION, **options).usage
        self.assertEqual(usage.input_tokens + usage.cache_read_input_tokens, counted)

    def test_the_asynchronous_client_streams(self):
        async def ask_it():
            async with client(kind=anthropic.AsyncAnthropic) as asynchronous:
                async with asynchronous.messages.stream(model=MODEL, max_tokens=64, messages=HELLO,
                                                        extra_body={"temperature": 0}) as stream:
                    return [piece async for piece in stream.text_stream]

        self.assertEqual("".join(asyncio.run(ask_it())), GREETING)

    def test_errors_are_the_packages_own(self):
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create([{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}])
        body = caught.exception.body
        self.assertEqual((body["type"], body["error"]["type"]), ("error", "invalid_request_error"))
        self.assertEqual(body["error"]["param"], "messages[0].content[0].type")
        self.assertEqual(body["request_id"], caught.exception.request_id)
        with self.assertRaises(anthropic.BadRequestError) as caught:
            self.create(ask("word " * 30000), stream=True)
        self.assertRegex(str(caught.exception), r"prompt is too long: \d+ tokens > \d+")

    @unittest.skipUnless(AUTH_BASE_URL, "AUTH_BASE_URL is not set")
    def test_a_key_is_asked_for_where_one_is_set(self):
        options = {"model": MODEL, "max_tokens": 4, "messages": HELLO}
        with client(AUTH_BASE_URL, "wrong") as wrong, self.assertRaises(anthropic.AuthenticationError):
            wrong.messages.create(**options)
        key = os.environ["API_KEY"]
        with client(AUTH_BASE_URL, key) as right, client(AUTH_BASE_URL, None, auth_token=key) as bearer:
            self.assertEqual(right.messages.create(**options).role, "assistant")
            self.assertEqual(bearer.messages.create(**options).role, "assistant")


if __name__ == "__main__":
    unittest.main()
