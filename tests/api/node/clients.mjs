// The servers under test: BASE_URL is open, AUTH_BASE_URL wants API_KEY. `./dev test` starts both.
// Retries are off everywhere: they would hide dropped connections.
import OpenAI from "openai";

export const BASE_URL = process.env.BASE_URL.replace(/\/$/, "");
export const AUTH_BASE_URL = process.env.AUTH_BASE_URL?.replace(/\/$/, "");

// Any name will do while one model is served.
export const MODEL = "any-model";

export const HELLO = [{ role: "user", content: "Hello" }];
export const GREETING = "Hello! How can I help you today?";

export const ask = (content) => [{ role: "user", content }];

export const client = (baseURL = BASE_URL, apiKey = "no key needed") =>
  new OpenAI({ baseURL: `${baseURL}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
