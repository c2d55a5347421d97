// Tools and structured output through the AI SDK, with the built-in model.
//
//     ai-sdk.mjs NODE_MODULES BASE_URL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [, , modules, base] = process.argv;
const { resolve } = createRequire(`${modules}/`);
const load = (name) => import(pathToFileURL(resolve(name)));
const { generateObject, generateText, stepCountIs, streamText, tool } = await load("ai");
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { z } = await load("zod");

const RESULT = "18 degrees, sunny";
const provider = createOpenAICompatible({
  name: "strixhalo",
  baseURL: `${base}/v1`,
  apiKey: "none",
  supportsStructuredOutputs: true,
});
const options = { model: provider("any-model"), temperature: 0, maxOutputTokens: 200, maxRetries: 0 };
const withTool = {
  ...options,
  prompt: "Use the tool to get the weather in Rome.",
  stopWhen: stepCountIs(3),
  tools: {
    get_weather: tool({
      description: "Get the weather for a city",
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `${city}: ${RESULT}`,
    }),
  },
};

async function trying(what, run) {
  const result = await run().then(
    () => "ok",
    (error) => `failed: ${error.name}: ${error.message}`.replaceAll(/\s+/g, " ").slice(0, 300),
  );
  console.log(`${what}\t${result}`);
}

function check(value, found) {
  if (!value) throw new Error(`unexpected: ${JSON.stringify(found)}`);
}

await trying("generateText with a tool: call, result, answer", async () => {
  const { text, steps } = await generateText(withTool);
  check(text.includes(RESULT) && steps.length === 2, { text, steps: steps.length });
});
await trying("streamText with a tool: call, result, answer", async () => {
  let failure;
  const stream = streamText({ ...withTool, onError: ({ error }) => (failure = error) });
  const text = await stream.text.catch((error) => Promise.reject(failure ?? error));
  check(text.includes(RESULT), text);
});
await trying("generateObject", async () => {
  const schema = z.object({ city: z.enum(["Paris", "Rome"]), windy: z.boolean() });
  const { object } = await generateObject({ ...options, prompt: "The weather in Rome", schema });
  check(schema.safeParse(object).success, object);
});
