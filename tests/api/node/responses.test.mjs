// /v1/responses through the openai package.
import assert from "node:assert/strict";
import { test } from "node:test";

import { MODEL, client } from "./clients.mjs";

const openai = client();
const RESULT = "18 degrees, sunny";
const tool = {
  type: "function",
  name: "get_weather",
  description: "Get the current weather for a city",
  parameters: {
    type: "object",
    properties: { city: { type: "string", description: "City name" } },
    required: ["city"],
  },
  strict: false,
};
const schema = {
  type: "object",
  properties: { sky: { enum: ["clear", "cloudy"] }, windy: { type: "boolean" } },
  required: ["sky", "windy"],
  additionalProperties: false,
};
const options = { model: MODEL, temperature: 0, max_output_tokens: 120 };
const question = { ...options, input: "What is the weather in Paris?", tools: [tool] };
const inSchema = {
  ...options,
  input: "What is the weather in Paris?",
  text: { format: { type: "json_schema", name: "weather", strict: true, schema } },
};

const callOf = (response) => response.output.find((item) => item.type === "function_call");

test("a text is the same whole and streamed", async () => {
  const whole = await openai.responses.create({ ...options, input: "Hello" });
  assert.equal(whole.status, "completed");
  assert.ok(whole.output_text.length > 0);
  const stream = openai.responses.stream({ ...options, input: "Hello" });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.equal(text, whole.output_text);
  assert.equal(final.output_text, whole.output_text);
});

test("a call and its output make an answer", async () => {
  const called = await openai.responses.create(question);
  const call = callOf(called);
  assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
  const output = { type: "function_call_output", call_id: call.call_id, output: RESULT };
  const input = [{ role: "user", content: question.input }, ...called.output, output];
  assert.ok((await openai.responses.create({ ...question, input })).output_text.includes(RESULT));
  const next = { ...question, input: [output], previous_response_id: called.id };
  assert.ok((await openai.responses.create(next)).output_text.includes(RESULT));
});

test("the stream helper collects a call", async () => {
  const stream = openai.responses.stream(question);
  let pieces = "";
  stream.on("response.function_call_arguments.delta", (event) => (pieces += event.delta));
  const call = callOf(await stream.finalResponse());
  assert.equal(pieces, call.arguments);
  assert.deepEqual(JSON.parse(call.arguments), { city: "Paris" });
});

test("an answer in a schema is parsed, whole and streamed", async () => {
  const whole = await openai.responses.parse(inSchema);
  assert.deepEqual(Object.keys(whole.output_parsed), ["sky", "windy"]);
  const streamed = await openai.responses.stream(inSchema).finalResponse();
  // The library parses those of zod alone.
  assert.deepEqual(JSON.parse(streamed.output_text), whole.output_parsed);
});

test("what is cut is incomplete", async () => {
  const cut = await openai.responses.create({ ...options, input: "Hello", max_output_tokens: 2 });
  assert.equal(cut.status, "incomplete");
  assert.equal(cut.incomplete_details.reason, "max_output_tokens");
});

test("stored responses are shown and deleted", async () => {
  const made = await openai.responses.create({ ...options, input: "Hello" });
  assert.equal((await openai.responses.retrieve(made.id)).output_text, made.output_text);
  await openai.responses.delete(made.id);
  await assert.rejects(openai.responses.retrieve(made.id), { status: 404 });
});

test("tokens are counted, and what is wrong is named", async () => {
  const counted = await openai.responses.inputTokens.count({ model: MODEL, input: "Hello" });
  assert.ok(counted.input_tokens > 0);
  const input = [{ role: "user", content: [{ type: "input_image", image_url: "data:," }] }];
  await assert.rejects(openai.responses.create({ ...options, input }), {
    status: 400,
    param: "input[0].content[0].type",
  });
});
