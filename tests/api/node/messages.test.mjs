// Anthropic's messages through the @anthropic-ai/sdk package.
import assert from "node:assert/strict";
import { test } from "node:test";

import Anthropic from "@anthropic-ai/sdk";

import { AUTH_BASE_URL, BASE_URL, GREETING, HELLO, MODEL, ask } from "./clients.mjs";

const client = (baseURL = BASE_URL, apiKey = "no key needed") =>
  new Anthropic({ baseURL, apiKey, maxRetries: 0, timeout: 60_000 });

const anthropic = client();
const greedy = { model: MODEL, temperature: 0, max_tokens: 120 };
const tool = {
  name: "get_weather",
  description: "Get the current weather for a city",
  input_schema: {
    type: "object",
    properties: { city: { type: "string", description: "City name" } },
    required: ["city"],
  },
};
const question = { ...greedy, messages: ask("What is the weather in Paris?"), tools: [tool] };
const RESULT = "18 degrees, sunny";

async function refusal(request, kind) {
  let found;
  await assert.rejects(request, (error) => {
    found = error;
    return error instanceof kind;
  });
  return found;
}

test("a greeting is answered", async () => {
  const answer = await anthropic.messages.create({ ...greedy, messages: HELLO });
  assert.deepEqual(answer.content, [{ type: "text", text: GREETING }]);
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(answer._request_id);
});

test("the stream helper collects the answer", async () => {
  const stream = anthropic.messages.stream({ ...greedy, messages: HELLO });
  const pieces = [];
  stream.on("text", (piece) => pieces.push(piece));
  const answer = await stream.finalMessage();
  assert.equal(pieces.join(""), GREETING);
  assert.equal(answer.content[0].text, GREETING);
  assert.equal(answer.stop_reason, "end_turn");
  assert.ok(answer.usage.output_tokens > 0);
});

test("a call and its result make an answer, whole and streamed", async () => {
  for (const streamed of [false, true]) {
    const answer = streamed
      ? await anthropic.messages.stream(question).finalMessage()
      : await anthropic.messages.create(question);
    assert.equal(answer.stop_reason, "tool_use");
    const call = answer.content.at(-1);
    assert.equal(call.name, "get_weather");
    assert.deepEqual(call.input, { city: "Paris" });
    const said = await anthropic.messages.create({
      ...question,
      messages: [
        ...question.messages,
        { role: "assistant", content: answer.content },
        { role: "user", content: [{ type: "tool_result", tool_use_id: call.id, content: RESULT }] },
      ],
    });
    assert.ok(said.content[0].text.includes(RESULT), `streamed: ${streamed}`);
  }
});

test("tokens are counted as they are read", async () => {
  const { max_tokens, temperature, ...counted } = question;
  const { input_tokens } = await anthropic.messages.countTokens(counted);
  const { usage } = await anthropic.messages.create(question);
  assert.equal(usage.input_tokens + usage.cache_read_input_tokens, input_tokens);
});

test("requests right behind finished streams are answered", async () => {
  for (let i = 0; i < 20; i += 1) {
    const stream = await anthropic.messages.create({ ...greedy, messages: HELLO, max_tokens: 3, stream: true });
    let last;
    for await (const event of stream) last = event;
    assert.equal(last.type, "message_stop");
  }
});

test("errors are the package's own", async () => {
  const content = [{ type: "image", source: { type: "url", url: "x" } }];
  const error = await refusal(
    anthropic.messages.create({ ...greedy, messages: [{ role: "user", content }] }),
    Anthropic.BadRequestError,
  );
  assert.equal(error.error.error.type, "invalid_request_error");
  assert.equal(error.error.error.param, "messages[0].content[0].type");
  assert.equal(error.error.request_id, error.requestID);
});

test("a key is asked for where one is set", { skip: !AUTH_BASE_URL && "AUTH_BASE_URL is not set" }, async () => {
  const asked = { ...greedy, messages: HELLO, max_tokens: 4 };
  await refusal(client(AUTH_BASE_URL, "wrong").messages.create(asked), Anthropic.AuthenticationError);
  const answer = await client(AUTH_BASE_URL, process.env.API_KEY).messages.create(asked);
  assert.equal(answer.role, "assistant");
});
