//! Model files: GGUF facts, split files, memory plan. No llama.cpp.
