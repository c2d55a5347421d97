// Chat and text completions through the openai package.
import assert from "node:assert/strict";
import { test } from "node:test";

import { GREETING, HELLO, MODEL, ask, client } from "./clients.mjs";

const openai = client();
const greedy = { model: MODEL, temperature: 0, max_tokens: 64 };

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const textOf = (chunks, index = 0) =>
  chunks
    .flatMap((chunk) => chunk.choices)
    .filter((choice) => choice.index === index)
    .map((choice) => choice.delta.content ?? "")
    .join("");

test("a greeting is answered", async () => {
  const answer = await openai.chat.completions.create({ ...greedy, messages: HELLO });
  assert.equal(answer.choices[0].message.content, GREETING);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("the pieces of a stream are the whole answer", async () => {
  const chunks = await collect(await openai.chat.completions.create({ ...greedy, messages: HELLO, stream: true }));
  assert.equal(textOf(chunks), GREETING);
  assert.ok(chunks.every((chunk) => !chunk.usage));
});

test("usage comes in the last chunk when asked for", async () => {
  const chunks = await collect(
    await openai.chat.completions.create({
      ...greedy,
      messages: HELLO,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  assert.equal(chunks.filter((chunk) => chunk.usage).length, 1);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

test("the stream helper collects the answer", async () => {
  const stream = openai.chat.completions.stream({ ...greedy, messages: HELLO });
  const answer = await stream.finalChatCompletion();
  assert.equal(answer.choices[0].message.content, GREETING);
});

test("n gives that many choices, streamed and whole", async () => {
  const whole = await openai.chat.completions.create({ ...greedy, messages: HELLO, n: 2 });
  assert.deepEqual(whole.choices.map((choice) => choice.message.content), [GREETING, GREETING]);
  const chunks = await collect(
    await openai.chat.completions.create({ ...greedy, messages: HELLO, n: 2, stream: true }),
  );
  assert.equal(textOf(chunks, 0), GREETING);
  assert.equal(textOf(chunks, 1), GREETING);
});

test("a stop string ends the answer", async () => {
  const answer = await openai.chat.completions.create({
    ...greedy,
    messages: ask("Count from 1 to 10."),
    stop: [", 5"],
  });
  assert.equal(answer.choices[0].message.content, "1, 2, 3, 4");
  assert.equal(answer.choices[0].finish_reason, "stop");
});

test("logprobs cover every token", async () => {
  const answer = await openai.chat.completions.create({
    ...greedy,
    messages: HELLO,
    logprobs: true,
    top_logprobs: 2,
  });
  const tokens = answer.choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(""), GREETING);
  assert.ok(tokens.every((token) => token.top_logprobs.length === 2 && token.logprob <= 0));
});

test("the same seed gives the same text", async () => {
  const sample = async () => {
    const answer = await openai.chat.completions.create({
      model: MODEL,
      messages: ask("Tell me a story."),
      temperature: 1.5,
      seed: 7,
      max_tokens: 32,
    });
    return answer.choices[0].message.content;
  };
  assert.equal(await sample(), await sample());
});

test("prompts in a list get a choice each, and echo returns the prompt with logprobs", async () => {
  const prompts = ["The capital of Peru is", "The capital of Japan is"];
  const answer = await openai.completions.create({ ...greedy, max_tokens: 8, prompt: prompts });
  assert.match(answer.choices[0].text, /Lima/);
  assert.match(answer.choices[1].text, /Tokyo/);
  const echoed = await openai.completions.create({
    ...greedy,
    max_tokens: 2,
    prompt: prompts[0],
    echo: true,
    logprobs: 1,
  });
  const { text, logprobs } = echoed.choices[0];
  assert.ok(text.startsWith(prompts[0]));
  assert.equal(logprobs.tokens.join(""), text);
  assert.equal(logprobs.token_logprobs[0], null);
});

test("requests right behind finished streams are answered", async () => {
  for (let i = 0; i < 20; i += 1) {
    const chunks = await collect(
      await openai.chat.completions.create({
        ...greedy,
        messages: HELLO,
        max_tokens: 3,
        stream: true,
        stream_options: { include_usage: true },
      }),
    );
    assert.ok(chunks.at(-1).usage);
  }
});

test("a client that goes away in a stream does not hold its slot", async () => {
  for (let i = 0; i < 8; i += 1) {
    const stream = await openai.chat.completions.create({
      ...greedy,
      messages: ask("Tell me a story about a fox."),
      max_tokens: 3000,
      stream: true,
    });
    for await (const chunk of stream) {
      assert.ok(chunk.id);
      break;
    }
  }
  const answer = await openai.chat.completions.create({ ...greedy, messages: HELLO }, { timeout: 20_000 });
  assert.equal(answer.choices[0].message.content, GREETING);
});
