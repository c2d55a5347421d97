"""Ollama's API through the ollama package."""
import asyncio
import json
import unittest

import ollama
import pydantic

from clients import AUTH_BASE_URL, BASE_URL, HELLO, MODEL, ask

OPTIONS = {"temperature": 0, "num_predict": 100}
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


class Capital(pydantic.BaseModel):
    capital: str


class Chat(unittest.TestCase):
    def setUp(self):
        self.client = ollama.Client(host=BASE_URL, timeout=60)
        self.addCleanup(self.client._client.close)

    def chat(self, messages, **options):
        return self.client.chat(MODEL, messages, **({"options": OPTIONS} | options))

    def test_a_greeting_is_answered_whole_and_streamed(self):
        whole = self.chat(HELLO)
        self.assertEqual(whole.message.content, "Hello! How can I help you today?")
        self.assertEqual((whole.done, whole.done_reason), (True, "stop"))
        self.assertGreater(whole.prompt_eval_count, 0)
        self.assertGreaterEqual(whole.total_duration, whole.eval_duration)
        parts = list(self.chat(HELLO, stream=True))
        self.assertEqual("".join(part.message.content for part in parts), whole.message.content)
        self.assertEqual([part.done for part in parts], [False] * (len(parts) - 1) + [True])
        self.assertEqual(parts[-1].eval_count, whole.eval_count)

    def test_a_tool_is_called_and_its_result_is_told(self):
        messages = ask("What is the weather in Paris?")
        for stream in (False, True):
            answer = self.chat(messages, tools=[TOOL], stream=stream)
            parts = list(answer) if stream else [answer]
            calls = [call for part in parts for call in part.message.tool_calls or []]
            self.assertEqual([call.function.name for call in calls], ["get_weather"])
            self.assertEqual(dict(calls[0].function.arguments), {"city": "Paris"})
        sent = self.chat(messages, tools=[TOOL]).message
        result = {"role": "tool", "tool_name": "get_weather", "content": "18 degrees, sunny"}
        self.assertIn("18", self.chat([*messages, sent, result], tools=[TOOL]).message.content)

    def test_a_function_of_python_is_a_tool(self):
        def get_weather(city: str) -> str:
            """Get the current weather for a city.

            Args:
                city: City name
            """
            return city

        call = self.chat(ask("What is the weather in Paris?"), tools=[get_weather]).message.tool_calls[0]
        self.assertEqual(get_weather(**call.function.arguments), "Paris")

    def test_a_schema_is_kept_to(self):
        answer = self.chat(ask("What is the capital of France?"), format=Capital.model_json_schema())
        Capital.model_validate_json(answer.message.content)
        self.assertIsInstance(json.loads(self.chat(HELLO, format="json").message.content), dict)

    def test_errors_are_the_packages_own(self):
        for messages, options, status in [
            (HELLO, {"options": {"temperature": -1}}, 400),
            ([{"role": "user", "content": "x", "images": [b"hi"]}], {}, 400),
        ]:
            with self.assertRaises(ollama.ResponseError) as raised:
                self.chat(messages, **options)
            self.assertEqual(raised.exception.status_code, status)
            self.assertTrue(raised.exception.error)
        with self.assertRaises(ollama.ResponseError) as raised:
            self.client.pull("x")
        self.assertEqual(raised.exception.status_code, 501)

    def test_asynchronous_streams_arrive(self):
        async def main():
            client = ollama.AsyncClient(host=BASE_URL, timeout=60)
            answer = await client.chat(MODEL, HELLO, stream=True, options=OPTIONS)
            return "".join([part.message.content async for part in answer])

        self.assertEqual(asyncio.run(main()), "Hello! How can I help you today?")


class Others(unittest.TestCase):
    def setUp(self):
        self.client = ollama.Client(host=BASE_URL, timeout=60)
        self.addCleanup(self.client._client.close)

    def test_a_generation_is_answered_whole_and_streamed(self):
        question = {"prompt": "What is the capital of France?", "options": OPTIONS}
        whole = self.client.generate(MODEL, **question)
        self.assertEqual(whole.response, "The capital of France is Paris.")
        parts = self.client.generate(MODEL, stream=True, **question)
        self.assertEqual("".join(part.response for part in parts), whole.response)
        self.assertTrue(self.client.generate(MODEL, keep_alive=0).done)

    def test_models_are_listed_and_shown(self):
        model = self.client.list().models[0]
        self.assertTrue(model.model.endswith(":latest"))
        self.assertIsNotNone(model.modified_at)
        self.assertEqual(self.client.ps().models[0].model, model.model)
        shown = self.client.show(model.model)
        self.assertIn("tools", shown.capabilities)
        self.assertEqual(shown.details.format, "gguf")
        self.assertTrue(shown.modelinfo["general.architecture"])

    @unittest.skipUnless(AUTH_BASE_URL, "no server with a key")
    def test_a_key_is_asked_for(self):
        client = ollama.Client(host=AUTH_BASE_URL, timeout=60)
        self.addCleanup(client._client.close)
        with self.assertRaises(ollama.ResponseError) as raised:
            client.list()
        self.assertEqual(raised.exception.status_code, 401)


if __name__ == "__main__":
    unittest.main()
