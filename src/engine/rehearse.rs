//! A load that ends before the first token, to see what it takes.

use std::path::Path;

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::model::LlamaModel;

use super::EmbeddingParams;
use super::backend::backend;
use super::embed::load as embedding;
use super::load::{LoadError, LoadParams, Placement, context_params, new_context, placement};

/// Lays a model and its context out as a load would; llama.cpp's log says how large each part is.
/// `no_alloc`: from the header alone, without memory for weights, KV cache and compute buffers. Returns
/// the bytes of the weights in the file. For the tests that compare the memory plan with it.
#[doc(hidden)]
pub fn rehearse(params: &LoadParams, no_alloc: bool) -> Result<u64, LoadError> {
    lay_out(&params.path, &placement(params), context_params(params), no_alloc)
}

/// [`rehearse`] of a model that makes vectors.
#[doc(hidden)]
pub fn rehearse_embedding(params: &EmbeddingParams, no_alloc: bool) -> Result<u64, LoadError> {
    let context = embedding::context_params(params);
    lay_out(&params.path, &embedding::placement(params), context, no_alloc)
}

fn lay_out(
    path: &Path,
    placement: &Placement<'_>,
    context: LlamaContextParams,
    no_alloc: bool,
) -> Result<u64, LoadError> {
    let backend = backend().map_err(LoadError::Start)?;
    let model_params =
        placement.model_params(|_| true).map_err(LoadError::Start)?.with_no_alloc(no_alloc);
    let model = LlamaModel::load_from_file(backend, path, &model_params)
        .map_err(|_| LoadError::Model(path.display().to_string()))?;
    let n_ctx = context.n_ctx().map_or(0, |n_ctx| n_ctx.get());
    new_context(&model, backend, context).map_err(|_| LoadError::Context { n_ctx })?;
    Ok(model.size())
}
