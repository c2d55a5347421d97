"""Tool calls and structured output through the openai package."""
import json
import unittest
from typing import Literal

import openai
import pydantic

from clients import MODEL, ask, client

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "City name"}},
            "required": ["city"],
        },
    },
}
QUESTION = ask("What is the weather in Paris?")
RESULT = "18 degrees, sunny"


class Weather(pydantic.BaseModel):
    """A pydantic model becomes a strict schema."""

    city: Literal["Paris", "Rome"]
    sky: Literal["clear", "cloudy"]
    windy: bool


class Tools(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)
        self.options = {"model": MODEL, "temperature": 0, "max_tokens": 120}

    def chat(self, messages, **options):
        return self.client.chat.completions.create(messages=messages, **self.options | options)

    def check_call(self, choice):
        self.assertEqual(choice.finish_reason, "tool_calls")
        call, = choice.message.tool_calls
        self.assertTrue(call.id)
        self.assertEqual(call.type, "function")
        self.assertEqual(call.function.name, "get_weather")
        self.assertEqual(json.loads(call.function.arguments), {"city": "Paris"})
        return call

    def test_a_call_and_its_result_make_an_answer(self):
        choice = self.chat(QUESTION, tools=[TOOL]).choices[0]
        call = self.check_call(choice)
        answer = self.chat([*QUESTION, choice.message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}],
                           tools=[TOOL])
        self.assertIn(RESULT, answer.choices[0].message.content)
        self.assertEqual(answer.choices[0].finish_reason, "stop")

    def test_a_streamed_call_has_its_name_once_and_its_arguments_in_pieces(self):
        deltas = [call for chunk in self.chat(QUESTION, tools=[TOOL], stream=True) for choice in chunk.choices
                  for call in choice.delta.tool_calls or []]
        self.assertEqual({call.index for call in deltas}, {0})
        self.assertEqual([call.function.name for call in deltas if call.function.name], ["get_weather"])
        self.assertEqual(len([call.id for call in deltas if call.id]), 1)
        self.assertEqual(json.loads("".join(call.function.arguments or "" for call in deltas)), {"city": "Paris"})

    def test_the_stream_helper_collects_a_call_and_the_answer_to_its_result(self):
        with self.client.chat.completions.stream(messages=QUESTION, tools=[TOOL], **self.options) as stream:
            events = [event.type for event in stream]
            choice = stream.get_final_completion().choices[0]
        call = self.check_call(choice)
        self.assertIn("tool_calls.function.arguments.delta", events)
        self.assertEqual(events.count("tool_calls.function.arguments.done"), 1)
        history = [*QUESTION, choice.message.model_dump(include={"role", "content"})
                   | {"tool_calls": [call.model_dump(exclude={"index"})]},
                   {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
        with self.client.chat.completions.stream(messages=history, tools=[TOOL], **self.options) as stream:
            self.assertIn(RESULT, stream.get_final_completion().choices[0].message.content)

    def test_two_calls_are_told_apart(self):
        question = ask("What is the weather in Paris and in London?")
        whole = self.chat(question, tools=[TOOL]).choices[0].message.tool_calls
        self.assertEqual([json.loads(call.function.arguments)["city"] for call in whole], ["Paris", "London"])
        self.assertNotEqual(whole[0].id, whole[1].id)
        one = self.chat(question, tools=[TOOL], parallel_tool_calls=False).choices[0].message.tool_calls
        self.assertEqual(len(one), 1)

    def test_the_choice_of_tools_is_kept(self):
        none = self.chat(QUESTION, tools=[TOOL], tool_choice="none").choices[0].message
        self.assertFalse(none.tool_calls)
        for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
            forced = self.chat(ask("Use the tool to get the weather in Paris."), tools=[TOOL], tool_choice=choice)
            self.assertEqual(forced.choices[0].message.tool_calls[0].function.name, "get_weather", choice)

    def test_the_arguments_of_a_strict_tool_are_parsed(self):
        tool = openai.pydantic_function_tool(Weather, name="report", description="Report the weather")
        answer = self.client.chat.completions.parse(
            messages=ask("Report the weather."), tools=[tool], tool_choice="required", **self.options)
        call = answer.choices[0].message.tool_calls[0]
        self.assertIsInstance(call.function.parsed_arguments, Weather)

    def test_an_answer_in_a_schema_is_parsed(self):
        answer = self.client.chat.completions.parse(messages=QUESTION, response_format=Weather, **self.options)
        message = answer.choices[0].message
        self.assertIsInstance(message.parsed, Weather)
        self.assertEqual(list(json.loads(message.content)), ["city", "sky", "windy"])

    def test_an_answer_in_a_schema_is_parsed_from_a_stream(self):
        with self.client.chat.completions.stream(messages=QUESTION, response_format=Weather, **self.options) as stream:
            self.assertIsInstance(stream.get_final_completion().choices[0].message.parsed, Weather)

    def test_a_schema_that_cannot_be_enforced_is_refused_with_its_keyword(self):
        schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}, "required": ["a"]}
        with self.assertRaises(openai.BadRequestError) as raised:
            self.chat(QUESTION, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
        self.assertIn("not", raised.exception.message)
        self.assertEqual(raised.exception.param, "response_format.json_schema.schema.properties.a.not")
