// Tool calls and structured output through the openai package.
import assert from "node:assert/strict";
import { test } from "node:test";

import { MODEL, ask, client } from "./clients.mjs";

const openai = client();
const RESULT = "18 degrees, sunny";
const tool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the current weather for a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string", description: "City name" } },
      required: ["city"],
    },
  },
};
const options = { model: MODEL, temperature: 0, max_tokens: 120 };
const question = { ...options, messages: ask("What is the weather in Paris?"), tools: [tool] };
const schema = {
  type: "object",
  properties: { sky: { enum: ["clear", "cloudy"] }, windy: { type: "boolean" } },
  required: ["sky", "windy"],
  additionalProperties: false,
};
const inSchema = {
  ...options,
  messages: ask("What is the weather in Paris?"),
  response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema } },
};

function checkCall(choice) {
  assert.equal(choice.finish_reason, "tool_calls");
  assert.equal(choice.message.tool_calls.length, 1);
  const [call] = choice.message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { city: "Paris" });
  return call;
}

test("a call and its result make an answer", async () => {
  const { choices } = await openai.chat.completions.create(question);
  const call = checkCall(choices[0]);
  const answer = await openai.chat.completions.create({
    ...question,
    messages: [...question.messages, choices[0].message, { role: "tool", tool_call_id: call.id, content: RESULT }],
  });
  assert.ok(answer.choices[0].message.content.includes(RESULT));
});

test("the stream helper collects a call", async () => {
  const stream = openai.chat.completions.stream(question);
  const pieces = [];
  stream.on("tool_calls.function.arguments.delta", (event) => pieces.push(event.arguments_delta));
  const answer = await stream.finalChatCompletion();
  const call = checkCall(answer.choices[0]);
  assert.equal(pieces.join(""), call.function.arguments);
});

test("tools are run until there is an answer, streamed and whole", async () => {
  const runnable = { ...tool.function, parse: JSON.parse, function: async ({ city }) => `${city}: ${RESULT}` };
  for (const stream of [false, true]) {
    const runner = openai.chat.completions.runTools({
      ...question,
      stream,
      tools: [{ type: "function", function: runnable }],
    });
    assert.ok((await runner.finalContent()).includes(RESULT), `stream: ${stream}`);
  }
});

test("a tool that must be called is called", async () => {
  for (const tool_choice of ["required", { type: "function", function: { name: "get_weather" } }]) {
    const { choices } = await openai.chat.completions.create({ ...question, tool_choice });
    assert.equal(choices[0].message.tool_calls[0].function.name, "get_weather");
  }
});

test("an answer in a schema is parsed, whole and streamed", async () => {
  const whole = await openai.chat.completions.parse(inSchema);
  assert.deepEqual(Object.keys(whole.choices[0].message.parsed), ["sky", "windy"]);
  const streamed = await openai.chat.completions.stream(inSchema).finalChatCompletion();
  assert.equal(streamed.choices[0].message.content, whole.choices[0].message.content);
});
