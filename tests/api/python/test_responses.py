"""/v1/responses through the openai package."""
import json
import unittest
from typing import Literal

import openai
import pydantic

from clients import MODEL, client

QUESTION = "What is the weather in Paris?"
RESULT = "18 degrees, sunny"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather for a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "City name"}},
        "required": ["city"],
    },
    "strict": False,
}


class Weather(pydantic.BaseModel):
    """A pydantic model becomes a strict schema."""

    city: Literal["Paris", "Rome"]
    sky: Literal["clear", "cloudy"]
    windy: bool


class Responses(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)
        self.options = {"model": MODEL, "temperature": 0, "max_output_tokens": 120}

    def create(self, input, **options):
        return self.client.responses.create(input=input, **self.options | options)

    def stream(self, input, **options):
        """The types of all events, and the response that they end with."""
        with self.client.responses.stream(input=input, **self.options | options) as stream:
            events = list(stream)
            return events, stream.get_final_response()

    def test_a_text_is_the_same_whole_and_streamed(self):
        whole = self.create("Hello")
        self.assertEqual((whole.status, whole.error, whole.incomplete_details), ("completed", None, None))
        self.assertTrue(whole.output_text)
        self.assertGreater(whole.usage.input_tokens, 0)
        self.assertEqual(whole.usage.total_tokens, whole.usage.input_tokens + whole.usage.output_tokens)
        self.assertGreaterEqual(whole.usage.input_tokens_details.cached_tokens, 0)
        self.assertEqual(whole.usage.output_tokens_details.reasoning_tokens, 0)
        events, final = self.stream("Hello")
        self.assertEqual(final.output_text, whole.output_text)
        deltas = [event for event in events if event.type == "response.output_text.delta"]
        self.assertEqual("".join(event.delta for event in deltas), whole.output_text)
        self.assertEqual(deltas[-1].snapshot, whole.output_text)
        raw = self.create("Hello", stream=True)
        self.assertEqual([event.sequence_number for event in raw], list(range(len(events))))

    def test_a_call_and_its_output_make_an_answer(self):
        called = self.create(QUESTION, tools=[TOOL])
        call, = [item for item in called.output if item.type == "function_call"]
        self.assertEqual((call.name, json.loads(call.arguments)), ("get_weather", {"city": "Paris"}))
        output = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
        history = [{"role": "user", "content": QUESTION}, *called.output, output]
        self.assertIn(RESULT, self.create(history, tools=[TOOL]).output_text)
        self.assertIn(RESULT, self.create([output], previous_response_id=called.id, tools=[TOOL]).output_text)

    def test_the_stream_helper_collects_a_call(self):
        events, final = self.stream(QUESTION, tools=[TOOL])
        call, = [item for item in final.output if item.type == "function_call"]
        deltas = [event for event in events if event.type == "response.function_call_arguments.delta"]
        self.assertEqual(deltas[-1].snapshot, call.arguments)
        self.assertEqual(json.loads(call.arguments), {"city": "Paris"})

    def test_an_answer_in_a_schema_is_parsed(self):
        parsed = self.client.responses.parse(input=QUESTION, text_format=Weather, **self.options)
        self.assertIsInstance(parsed.output_parsed, Weather)
        _, final = self.stream(QUESTION, text_format=Weather)
        self.assertEqual(final.output_parsed, parsed.output_parsed)

    def test_the_arguments_of_a_strict_tool_are_parsed(self):
        tool = openai.pydantic_function_tool(Weather, name="report", description="Report the weather")
        tool = {"type": "function", **tool["function"]}
        parsed = self.client.responses.parse(
            input="Report the weather.", tools=[tool], tool_choice={"type": "function", "name": "report"}, **self.options)
        call, = [item for item in parsed.output if item.type == "function_call"]
        self.assertEqual(list(json.loads(call.arguments)), ["city", "sky", "windy"])

    def test_what_is_cut_is_incomplete(self):
        cut = self.create("Hello", max_output_tokens=2)
        self.assertEqual((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
        last = list(self.create("Hello", max_output_tokens=2, stream=True))[-1]
        self.assertEqual((last.type, last.response.status), ("response.incomplete", "incomplete"))

    def test_stored_responses_are_shown_and_deleted(self):
        made = self.create("Hello", instructions="Be kind.", metadata={"a": "b"})
        self.assertEqual(self.client.responses.retrieve(made.id).output_text, made.output_text)
        self.assertEqual((made.instructions, made.metadata), ("Be kind.", {"a": "b"}))
        self.client.responses.delete(made.id)
        with self.assertRaises(openai.NotFoundError):
            self.client.responses.retrieve(made.id)
        with self.assertRaises(openai.BadRequestError) as raised:
            self.create("And?", previous_response_id=made.id)
        self.assertEqual(raised.exception.param, "previous_response_id")

    def test_tokens_are_counted(self):
        counted = self.client.responses.input_tokens.count(model=MODEL, input="Hello")
        self.assertEqual(counted.input_tokens, self.create("Hello").usage.input_tokens)

    def test_what_is_wrong_is_named(self):
        image = {"role": "user", "content": [{"type": "input_image", "image_url": "data:,", "detail": "auto"}]}
        with self.assertRaises(openai.BadRequestError) as raised:
            self.create([{"role": "user", "content": "a"}, image])
        self.assertEqual(raised.exception.param, "input[1].content[0].type")
