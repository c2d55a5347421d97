"""Tools and structured output through LangChain, pydantic-ai, instructor and LiteLLM, with the built-in model.

    sdks.py langchain|pydantic-ai|instructor|litellm BASE_URL
"""
import json
import os
import sys
from typing import Literal

import openai
import pydantic

from report import trying

KEY, MODEL = "none", "any-model"
QUESTION = "Use the tool to get the weather in Rome."
RESULT = "18 degrees, sunny"
# Greedy, and an end to what the model would repeat.
LIMITS = {"temperature": 0, "max_tokens": 200}


class Weather(pydantic.BaseModel):
    """The weather."""

    city: Literal["Paris", "Rome"]
    windy: bool


def get_weather(city: str) -> str:
    """Get the weather for a city."""
    return f"{city}: {RESULT}"


def langchain(url):
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(base_url=url, api_key=KEY, model=MODEL, max_retries=0, **LIMITS)
    with_tool = chat.bind_tools([tool(get_weather)])

    def whole(messages):
        return with_tool.invoke(messages)

    def streamed(messages):
        message, *rest = with_tool.stream(messages)
        for chunk in rest:
            message += chunk
        return message

    for way in (whole, streamed):
        with trying(f"bind_tools, {way.__name__}: call, result, answer"):
            messages = [HumanMessage(QUESTION)]
            messages.append(way(messages))
            call, = messages[-1].tool_calls
            assert (call["name"], call["args"]) == ("get_weather", {"city": "Rome"}), call
            messages.append(ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]))
            assert RESULT in (text := way(messages).content), text
    for method in ("json_schema", "function_calling"):
        with trying(f"with_structured_output, {method}"):
            found = chat.with_structured_output(Weather, method=method).invoke("The weather in Rome")
            assert isinstance(found, Weather), found


def pydantic_ai(url):
    from pydantic_ai import Agent, NativeOutput
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel(MODEL, provider=OpenAIProvider(base_url=url, api_key=KEY))

    def agent(**options):
        return Agent(model, model_settings=LIMITS, retries=0, **options)

    with trying("agent with a tool: call, result, answer"):
        assert RESULT in (text := agent(tools=[get_weather]).run_sync(QUESTION).output), text
    with trying("the same, streamed"):
        text = agent(tools=[get_weather]).run_stream_sync(QUESTION).get_output()
        assert RESULT in text, text
    with trying("structured output by a tool"):
        assert isinstance(agent(output_type=Weather).run_sync("The weather in Rome").output, Weather)
    with trying("structured output by a schema"):
        assert isinstance(agent(output_type=NativeOutput(Weather)).run_sync("The weather in Rome").output, Weather)


def instructor(url):
    import instructor as library

    openai_client = openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)
    request = {"model": MODEL, "messages": [{"role": "user", "content": "The weather in Rome"}],
               "response_model": Weather, "max_retries": 0, **LIMITS}
    for mode in (library.Mode.TOOLS, library.Mode.JSON_SCHEMA):
        client = library.from_openai(openai_client, mode=mode)
        with trying(f"response_model, {mode.name}"):
            assert isinstance(client.chat.completions.create(**request), Weather)
        with trying(f"create_partial, {mode.name}"):
            *_, last = client.chat.completions.create_partial(**request)
            assert Weather(**last.model_dump()), last


def litellm(url):
    # Else it asks for its list of prices, which is not on this machine.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm as library

    function = {"name": "get_weather", "description": "Get the weather for a city.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}

    def try_provider(provider, base):
        def whole(messages, **options):
            return library.completion(model=f"{provider}/{MODEL}", api_base=base, api_key=KEY, messages=messages,
                                      tools=[{"type": "function", "function": function}], num_retries=0,
                                      **LIMITS, **options)

        def streamed(messages):
            return library.stream_chunk_builder(list(whole(messages, stream=True)), messages=messages)

        for way in (whole, streamed):
            with trying(f"completion, {provider}, {way.__name__}: call, result, answer"):
                messages = [{"role": "user", "content": QUESTION}]
                message = way(messages).choices[0].message
                call, = message.tool_calls
                arguments = json.loads(call.function.arguments)
                assert (call.function.name, arguments) == ("get_weather", {"city": "Rome"}), call
                messages += [message.model_dump(exclude_none=True),
                             {"role": "tool", "tool_call_id": call.id, "content": get_weather(**arguments)}]
                assert RESULT in (text := way(messages).choices[0].message.content), text

    try_provider("openai", url)
    # It adds the path of Anthropic's API itself.
    try_provider("anthropic", url.removesuffix("/v1"))


if __name__ == "__main__":
    drivers = {"langchain": langchain, "pydantic-ai": pydantic_ai, "instructor": instructor, "litellm": litellm}
    drivers[sys.argv[1]](sys.argv[2] + "/v1")
