"""Errors arrive as the openai package's typed exceptions."""
import os
import unittest

import openai

from clients import AUTH_BASE_URL, HELLO, MODEL, client


class BadRequests(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def refused(self, param, **options):
        options = {"model": MODEL, "messages": HELLO, "max_tokens": 4} | options
        with self.assertRaises(openai.BadRequestError) as caught:
            self.client.chat.completions.create(**options)
        error = caught.exception
        self.assertEqual(error.status_code, 400)
        self.assertEqual(error.type, "invalid_request_error")
        self.assertEqual(error.param, param, error)
        self.assertIsInstance(error.code, str)
        return error

    def test_values_out_of_range_name_their_parameter(self):
        self.refused("temperature", temperature=1e9)
        self.refused("temperature", temperature=-1)
        self.refused("max_tokens", max_tokens=-5)
        self.refused("n", n=0)
        self.refused("n", n=129)
        self.refused("top_logprobs", logprobs=True, top_logprobs=-1)
        self.refused("top_logprobs", top_logprobs=2)
        self.refused("stop", stop=["x"] * 200)

    def test_wrong_types_name_their_parameter(self):
        self.refused("messages", messages="Hello")
        self.refused("messages", messages=[])
        self.refused("temperature", temperature="hot")
        self.refused("logit_bias", logit_bias="x")
        self.refused("response_format", response_format="json")
        self.refused("model", model=5)

    def test_messages_without_a_role_are_refused(self):
        error = self.refused("messages[0].role", messages=[{"content": "Hello"}])
        self.assertIn("role", error.message)

    def test_tools_that_cannot_be_called_are_refused(self):
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
        self.refused("tools", tools="f")
        self.refused("tools[0].function.name", tools=[{"type": "function", "function": {}}])
        self.refused("tool_choice", tool_choice="required")
        self.refused("tool_choice", tools=[tool], tool_choice={"type": "function", "function": {"name": "g"}})

    def test_a_prompt_beyond_the_context_has_a_code_of_its_own(self):
        for stream in (False, True):
            error = self.refused("messages", messages=[{"role": "user", "content": "word " * 30000}],
                                 stream=stream)
            self.assertEqual(error.code, "context_length_exceeded")
            self.assertRegex(error.message, r"prompt is too long: \d+ tokens > \d+ maximum")

    def test_an_unknown_route_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.get("/no/such/route", cast_to=object)
        self.assertEqual(caught.exception.type, "not_found_error")
        with self.assertRaises(openai.NotFoundError):
            self.client.images.generate(prompt="a fox")

    def test_a_wrong_method_is_not_allowed(self):
        with self.assertRaises(openai.APIStatusError) as caught:
            self.client.get("/chat/completions", cast_to=object)
        self.assertEqual(caught.exception.status_code, 405)

    def test_the_server_goes_on_after_all_this(self):
        self.refused("messages", messages=[])
        answer = self.client.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=64)
        self.assertEqual(answer.choices[0].message.content, "Hello! How can I help you today?")


class Models(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def test_the_served_model_is_listed_and_retrieved(self):
        models = self.client.models.list().data
        self.assertEqual([len(models), models[1].id], [2, "tiny-bert"])
        self.assertEqual(models[0].object, "model")
        self.assertEqual(self.client.models.retrieve(models[0].id).id, models[0].id)

    def test_a_model_that_is_not_served_is_not_found(self):
        with self.assertRaises(openai.NotFoundError) as caught:
            self.client.models.retrieve("no-such-model")
        self.assertEqual(caught.exception.code, "model_not_found")


@unittest.skipUnless(AUTH_BASE_URL, "AUTH_BASE_URL is not set")
class Keys(unittest.TestCase):
    def test_a_wrong_key_is_refused(self):
        with client(AUTH_BASE_URL, "wrong") as stranger:
            with self.assertRaises(openai.AuthenticationError) as caught:
                stranger.models.list()
            self.assertEqual(caught.exception.status_code, 401)
            self.assertEqual(caught.exception.type, "authentication_error")
            with self.assertRaises(openai.AuthenticationError):
                stranger.chat.completions.create(model=MODEL, messages=HELLO, stream=True)

    def test_the_right_key_is_accepted(self):
        with client(AUTH_BASE_URL, os.environ["API_KEY"]) as friend:
            self.assertEqual(len(friend.models.list().data), 1)
            answer = friend.chat.completions.create(model=MODEL, messages=HELLO, temperature=0, max_tokens=64)
            self.assertEqual(answer.choices[0].message.content, "Hello! How can I help you today?")
