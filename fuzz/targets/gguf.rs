//! GGUF headers: any bytes are a model or a one-line refusal, and a model has a memory plan.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use strixhalo::config::CacheType;
use strixhalo::model::{
    CacheShape, ModelFile, decide_cache_types, decide_context, largest_ctx_per_slot, memory_need,
};

fuzz_target!(|data: &[u8]| {
    let facts = match ModelFile::parse(Cursor::new(data)) {
        Ok(facts) => facts,
        Err(error) => {
            let line = error.to_string();
            assert!(!line.contains('\n') && line.len() < 8192, "{line}");
            return;
        }
    };
    assert!(facts.tensor_bytes <= data.len() as u64);
    assert!(!facts.layers.is_empty() && facts.layers.len() <= 512);
    for (cache_type_k, cache_type_v) in
        [(CacheType::Q8_0, CacheType::Q8_0), (CacheType::F16, CacheType::F32)]
    {
        let shape = CacheShape {
            parallel: 2,
            cache_type_k,
            cache_type_v,
            ubatch: 512,
            flash_attn: true,
            on_gpu: false,
            rollback_tokens: facts.rollback_tokens(true, true, 512),
            host_cache: 1 << 30,
            checkpoints: 1 << 28,
        };
        let need = memory_need(&facts, &shape, facts.n_ctx_train.into());
        assert!(need.total() >= need.weights);
        if let Some(tokens) = largest_ctx_per_slot(&facts, &shape, 64 << 30) {
            assert!(memory_need(&facts, &shape, tokens).total() <= 64 << 30);
        }
        for (user_set, budget) in [(None, Some(64 << 30)), (Some(0), None), (Some(4096), Some(1))] {
            if let Ok(decision) = decide_context(&facts, user_set, 524_288, &shape, budget) {
                assert!(decision.per_slot > 0 && decision.ctx_total >= decision.per_slot);
            }
        }
    }
    let (k, v) = (CacheType::Q8_0, CacheType::Q4_0);
    for set in [false, true] {
        let _ = decide_cache_types(&facts, k, set, v, set, true);
    }
});
