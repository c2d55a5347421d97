# The built-in model answers over the OpenAI API.
{ server, ... }:
{
  name = "strixhalo-chat";
  nodes.machine = server;

  testScript = ''
    import json

    url = "http://127.0.0.1:8091"

    def post(path, **body):
        return machine.succeed(
            f"curl -sS --fail-with-body -H 'Content-Type: application/json' -d '{json.dumps(body)}' {url}{path}"
        )

    machine.wait_for_unit("strixhalo.service")

    with subtest("an active unit is a loaded model"):
        assert json.loads(machine.succeed(f"curl -sS --fail {url}/health"))["status"] == "ok"

    with subtest("the model is listed"):
        models = json.loads(machine.succeed(f"curl -sS --fail {url}/v1/models"))["data"]
        assert len(models) == 1, models

    messages = [{"role": "user", "content": "Hello"}]

    with subtest("a chat is answered"):
        answer = json.loads(post("/v1/chat/completions", messages=messages, max_tokens=32))
        choice = answer["choices"][0]
        assert choice["message"]["content"], answer
        assert choice["finish_reason"] in ("stop", "length"), answer
        assert answer["usage"]["completion_tokens"] > 0, answer

    with subtest("a stream ends with [DONE]"):
        stream = post("/v1/chat/completions", messages=messages, max_tokens=32, stream=True)
        events = [line for line in stream.splitlines() if line.startswith("data: ")]
        assert len(events) > 2, stream
        assert events[-1] == "data: [DONE]", stream

    with subtest("the command is there for people as well"):
        machine.succeed("strixhalo --version")

    with subtest("the metrics are served"):
        assert "strixhalo_" in machine.succeed(f"curl -sS --fail {url}/metrics")
  '';
}
