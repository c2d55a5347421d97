"""Embeddings through the openai package."""
import math
import unittest

import openai
from clients import client

TEXTS = ["Hello world", "The cat sat on the mat."]


class Embeddings(unittest.TestCase):
    def setUp(self):
        self.client = client()
        self.addCleanup(self.client.close)

    def vectors(self, texts, **options):
        answer = self.client.embeddings.create(model="text-embedding-3-small", input=texts, **options)
        self.assertEqual([e.index for e in answer.data], list(range(len(answer.data))))
        return [e.embedding for e in answer.data]

    def assert_close(self, ours, theirs):
        self.assertEqual(len(ours), len(theirs))
        for a, b in zip(ours, theirs):
            self.assertAlmostEqual(a, b, places=5)

    def test_the_packages_own_base64_is_the_same_as_numbers(self):
        numbers = self.vectors(TEXTS, encoding_format="float")
        for ours, theirs in zip(self.vectors(TEXTS), numbers):
            self.assert_close(ours, theirs)
            self.assertAlmostEqual(math.hypot(*ours), 1, places=5)

    def test_one_text_is_the_same_as_a_list_of_it(self):
        self.assert_close(self.vectors(TEXTS[0])[0], self.vectors(TEXTS)[0])

    def test_vectors_are_cut_to_dimensions(self):
        (whole,), (cut,) = self.vectors(TEXTS[:1]), self.vectors(TEXTS[:1], dimensions=8)
        length = math.hypot(*whole[:8])
        self.assert_close(cut, [value / length for value in whole[:8]])

    def test_usage_counts_the_tokens(self):
        usage = self.client.embeddings.create(model="any", input=TEXTS).usage
        self.assertGreater(usage.prompt_tokens, 4)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens)

    def test_bad_input_is_a_bad_request_that_names_the_field(self):
        for options, param in [({"input": []}, "input"), ({"input": ["a"], "dimensions": 100000}, "dimensions")]:
            with self.assertRaises(openai.BadRequestError) as caught:
                self.client.embeddings.create(model="any", **options)
            self.assertEqual(caught.exception.param, param)
