"""LangChain, with ``langchain-openai``."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from tests.other_clients.scripts.report import (
    LONG,
    MODEL,
    N_TOKENS,
    OTHER_STORY,
    QUESTION,
    STORY,
    TUNED,
    Server,
    report,
)


def settings(server: Server) -> dict[str, Any]:
    return {"model": MODEL, "base_url": server.url, "api_key": server.key, "max_retries": 0}


def chat_of(server: Server, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(**settings(server), temperature=0, max_tokens=N_TOKENS, **options)


def llm_of(server: Server, **options: Any) -> OpenAI:
    return OpenAI(**settings(server), temperature=0, max_tokens=N_TOKENS, **options)


def chat(server: Server) -> Any:
    found = chat_of(server).invoke([("system", "Answer the question in a word."), ("human", QUESTION)])
    return {"text": found.content, "usage": found.usage_metadata, "reason": found.response_metadata["finish_reason"]}


def chat_streamed(server: Server) -> Any:
    chunks = list(chat_of(server, stream_usage=True).stream(QUESTION))
    usage = next(chunk.usage_metadata for chunk in chunks if chunk.usage_metadata)
    return {"text": "".join(str(chunk.content) for chunk in chunks), "n_generated": usage["output_tokens"]}


def chat_logprobs(server: Server) -> Any:
    found = chat_of(server).bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    return [len(token["top_logprobs"]) for token in found.response_metadata["logprobs"]["content"]]


def chat_async(server: Server) -> Any:
    async def texts() -> list[str]:
        chat = chat_of(server)
        batch = await chat.abatch([QUESTION] * 3)
        parts = [str(chunk.content) async for chunk in chat.astream(QUESTION)]
        return [*(str(found.content) for found in batch), "".join(parts)]

    return asyncio.run(texts())


def chain(server: Server) -> Any:
    prompt = ChatPromptTemplate.from_messages([("human", "{question}")])
    return (prompt | chat_of(server) | StrOutputParser()).batch([{"question": QUESTION}] * 5)


def several(server: Server) -> Any:
    chat = ChatOpenAI(**settings(server), temperature=1, seed=3, n=2, max_completion_tokens=4)
    (choices,) = chat.generate([prompt_of(QUESTION)]).generations
    return len(choices)


def prompt_of(text: str) -> Any:
    return ChatPromptTemplate.from_messages([("human", "{text}")]).format_messages(text=text)


def llm(server: Server) -> Any:
    found = llm_of(server)
    return {
        "text": found.invoke(STORY),
        "batch": found.batch([STORY, OTHER_STORY] * 3),
        "stream": "".join(found.stream(STORY)),
        "stopped": found.invoke(STORY, stop=["."]),
    }


def tuned(server: Server) -> Any:
    return OpenAI(**{**settings(server), "model": TUNED}, temperature=0, max_tokens=N_TOKENS).invoke(STORY)


def embeddings(server: Server) -> Any:
    # Texts as they are: by default the class first tokenises them with OpenAI's own tokenizer, which it downloads.
    embedder = OpenAIEmbeddings(**settings(server), check_embedding_ctx_length=False)
    return {"documents": embedder.embed_documents([STORY, QUESTION]), "query": embedder.embed_query(STORY)}


def too_long(server: Server) -> Any:
    chat_of(server).invoke(LONG)


def unknown_model(server: Server) -> Any:
    ChatOpenAI(**{**settings(server), "model": "nobody"}).invoke(QUESTION)


def structured(server: Server) -> Any:
    schema = {"title": "Place", "type": "object", "properties": {"place": {"type": "string"}}}
    chat_of(server).with_structured_output(schema).invoke(QUESTION)


if __name__ == "__main__":
    checks = [chat, chat_streamed, chat_logprobs, chat_async, chain, several, llm, tuned, embeddings]
    report({check.__name__: check for check in [*checks, too_long, unknown_model, structured]})
