//! A load that ends before the first token, to see what it takes.

use llama_cpp_2::model::LlamaModel;

use super::backend::backend;
use super::load::{LoadError, LoadParams, context_params, new_context, placement};

/// Lays a model and its context out as a load would; llama.cpp's log says how large each part is.
/// `no_alloc`: from the header alone, without memory for weights, KV cache and compute buffers. Returns
/// the bytes of the weights in the file. For the tests that compare the memory plan with it.
#[doc(hidden)]
pub fn rehearse(params: &LoadParams, no_alloc: bool) -> Result<u64, LoadError> {
    let backend = backend().map_err(LoadError::Start)?;
    let model_params =
        placement(params).model_params(|_| true).map_err(LoadError::Start)?.with_no_alloc(no_alloc);
    let model = LlamaModel::load_from_file(backend, &params.path, &model_params)
        .map_err(|_| LoadError::Model(params.path.display().to_string()))?;
    new_context(&model, backend, context_params(params))
        .map_err(|_| LoadError::Context { n_ctx: params.n_ctx })?;
    Ok(model.size())
}
