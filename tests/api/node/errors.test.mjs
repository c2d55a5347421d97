// Errors arrive as the openai package's typed exceptions.
import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { AUTH_BASE_URL, GREETING, HELLO, MODEL, client } from "./clients.mjs";

const openai = client();

async function refusal(request, kind) {
  let found;
  await assert.rejects(request, (error) => {
    found = error;
    return error instanceof kind;
  });
  return found;
}

test("a bad value names its parameter", async () => {
  for (const [param, value] of [
    ["temperature", 1e9],
    ["max_tokens", -5],
    ["messages", []],
  ]) {
    const error = await refusal(
      openai.chat.completions.create({ model: MODEL, messages: HELLO, [param]: value }),
      OpenAI.BadRequestError,
    );
    assert.equal(error.status, 400);
    assert.equal(error.param, param);
    assert.equal(error.type, "invalid_request_error");
    assert.equal(typeof error.code, "string");
  }
});

test("a prompt beyond the context has a code of its own, streamed too", async () => {
  const error = await refusal(
    openai.chat.completions.create({
      model: MODEL,
      messages: [{ role: "user", content: "word ".repeat(30_000) }],
      stream: true,
    }),
    OpenAI.BadRequestError,
  );
  assert.equal(error.code, "context_length_exceeded");
});

test("an unknown route is not found", async () => {
  const error = await refusal(openai.get("/no/such/route"), OpenAI.NotFoundError);
  assert.equal(error.type, "not_found_error");
});

test("the served model is listed and retrieved, others are not found", async () => {
  const { data } = await openai.models.list();
  assert.equal(data.length, 2);
  assert.equal((await openai.models.retrieve(data[0].id)).id, data[0].id);
  const error = await refusal(openai.models.retrieve("no-such-model"), OpenAI.NotFoundError);
  assert.equal(error.code, "model_not_found");
});

test("a key is asked for where one is set", { skip: !AUTH_BASE_URL && "AUTH_BASE_URL is not set" }, async () => {
  const error = await refusal(client(AUTH_BASE_URL, "wrong").models.list(), OpenAI.AuthenticationError);
  assert.equal(error.status, 401);
  const answer = await client(AUTH_BASE_URL, process.env.API_KEY).chat.completions.create({
    model: MODEL,
    messages: HELLO,
    temperature: 0,
    max_tokens: 64,
  });
  assert.equal(answer.choices[0].message.content, GREETING);
});
