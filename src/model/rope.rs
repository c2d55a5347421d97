//! How far rotary positions (RoPE) reach, in the model's file and stretched by settings.

use super::gguf::{GgufError, MetaValue};
use super::keys::Keys;
use crate::config::{Rope, RopeScaling};

/// What a model's file says about its rotary positions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RopeFacts {
    /// How they are stretched; `None`: the file does not say, or in a way that settings have not.
    pub scaling: Option<RopeScaling>,
    /// The factor of stretching; `None`: 1.
    pub factor: Option<f32>,
    /// Tokens of context before it; `None`: the trained context.
    pub original_ctx: Option<u32>,
}

impl RopeFacts {
    pub(super) fn read(keys: &Keys<'_>) -> Result<Self, GgufError> {
        let factor = ["rope.scaling.factor", "rope.scale_linear"]
            .iter()
            .find_map(|key| match keys.entry(key)?.value {
                MetaValue::Float(factor) => Some(factor as f32),
                _ => None,
            })
            .filter(|factor| factor.is_normal() && *factor > 0.0);
        let scaling = match keys.text(&keys.key("rope.scaling.type"))? {
            Some("none") => Some(RopeScaling::None),
            Some("linear") => Some(RopeScaling::Linear),
            Some("yarn") => Some(RopeScaling::Yarn),
            _ => None,
        };
        let original_ctx = keys.number("rope.scaling.original_context_length")?;
        Ok(Self { scaling, factor, original_ctx: original_ctx.filter(|tokens| *tokens > 0) })
    }

    /// Tokens of context that `rope` stretches the `trained` ones to.
    pub(super) fn reach(&self, trained: u32, rope: &Rope) -> u32 {
        let asked = (rope.freq_scale != 0.0).then(|| f64::from(rope.freq_scale).recip());
        if rope.scaling == RopeScaling::Model && asked.is_none() {
            return trained;
        }
        let own = f64::from(self.factor.unwrap_or(1.0));
        let scaling = match rope.scaling {
            RopeScaling::Model => self.scaling.unwrap_or(RopeScaling::Linear),
            scaling => scaling,
        };
        let before = match (scaling, rope.yarn_orig_ctx, self.original_ctx) {
            (RopeScaling::Yarn, tokens @ 1.., _) => f64::from(tokens),
            (_, _, Some(tokens)) => f64::from(tokens),
            (RopeScaling::Yarn, ..) => f64::from(trained),
            _ => f64::from(trained) / own,
        };
        match scaling {
            // llama.cpp then stretches nothing, whatever the factor.
            RopeScaling::None => before as u32,
            // A factor of 4 may come as 0.25 or 0.24999.
            _ => ((before * asked.unwrap_or(own)).round() as u32).max(trained),
        }
    }

    /// Why llama.cpp takes a part of `rope` and does nothing about it, if so.
    pub(super) fn without_effect(&self, rope: &Rope) -> Option<&'static str> {
        let is_scaled = rope.freq_scale != 0.0;
        let is_yarn = match rope.scaling {
            RopeScaling::Model => self.scaling == Some(RopeScaling::Yarn),
            scaling => scaling == RopeScaling::Yarn,
        };
        let extrapolates =
            if rope.yarn_ext_factor < 0.0 { is_yarn } else { rope.yarn_ext_factor > 0.0 };
        let bounds_extrapolation =
            rope.yarn_orig_ctx > 0 || rope.yarn_beta_slow >= 0.0 || rope.yarn_beta_fast >= 0.0;
        match rope.scaling {
            RopeScaling::None if is_scaled => {
                Some("the factor of context.rope_scale has no effect: context.rope_scaling is none")
            }
            RopeScaling::Linear | RopeScaling::Yarn if !is_scaled && self.factor.is_none() => Some(
                "context.rope_scaling has no effect: the model's file has no factor, so set \
                 context.rope_scale",
            ),
            _ if bounds_extrapolation && !extrapolates => Some(
                "context.yarn_orig_ctx, yarn_beta_slow and yarn_beta_fast have no effect: they need \
                 context.rope_scaling = \"yarn\"",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ContextSettings;

    fn reach(facts: RopeFacts, settings: ContextSettings) -> u32 {
        facts.reach(40_960, &settings.rope())
    }

    #[test]
    fn the_trained_context_grows_with_the_factor_that_is_set() {
        let unset = ContextSettings::default;
        let yarn = || ContextSettings { rope_scaling: RopeScaling::Yarn, ..unset() };
        let plain = RopeFacts::default();
        for (settings, expected) in [
            (unset(), 40_960),
            (yarn(), 40_960),
            (ContextSettings { rope_scale: 4.0, ..yarn() }, 163_840),
            (ContextSettings { rope_scale: 4.0, yarn_orig_ctx: 32_768, ..yarn() }, 131_072),
            (ContextSettings { rope_freq_scale: 0.25, yarn_orig_ctx: 32_768, ..yarn() }, 131_072),
            (ContextSettings { rope_scale: 1.2, yarn_orig_ctx: 32_768, ..yarn() }, 40_960),
            (ContextSettings { rope_scale: 2.0, ..unset() }, 81_920),
            (ContextSettings { rope_freq_base: 5e6, ..unset() }, 40_960),
        ] {
            assert_eq!(reach(plain, settings.clone()), expected, "{settings:?}");
        }
        let none = ContextSettings { rope_scaling: RopeScaling::None, rope_scale: 4.0, ..unset() };
        assert_eq!(reach(plain, none), 40_960);
    }

    #[test]
    fn a_file_that_is_stretched_already_is_stretched_from_where_it_began() {
        let own = RopeFacts {
            scaling: Some(RopeScaling::Yarn),
            factor: Some(4.0),
            original_ctx: Some(10_240),
        };
        let unset = ContextSettings::default;
        assert_eq!(reach(own, unset()), 40_960);
        assert_eq!(reach(own, ContextSettings { rope_scale: 8.0, ..unset() }), 81_920);
        let none = ContextSettings { rope_scaling: RopeScaling::None, ..unset() };
        assert_eq!(reach(own, none), 10_240);
    }

    #[test]
    fn what_changes_nothing_is_told() {
        let unset = ContextSettings::default;
        let yarn = || ContextSettings { rope_scaling: RopeScaling::Yarn, ..unset() };
        let none = || ContextSettings { rope_scaling: RopeScaling::None, ..unset() };
        let own = RopeFacts {
            scaling: Some(RopeScaling::Yarn),
            factor: Some(4.0),
            original_ctx: Some(10_240),
        };
        for (facts, settings, told) in [
            (RopeFacts::default(), unset(), None),
            (RopeFacts::default(), yarn(), Some("set context.rope_scale")),
            (own, yarn(), None),
            (RopeFacts::default(), ContextSettings { rope_scale: 4.0, ..yarn() }, None),
            (RopeFacts::default(), none(), None),
            (
                RopeFacts::default(),
                ContextSettings { rope_scale: 4.0, ..none() },
                Some("rope_scaling is none"),
            ),
            (
                RopeFacts::default(),
                ContextSettings { rope_scale: 4.0, yarn_orig_ctx: 32_768, ..unset() },
                Some("they need"),
            ),
            (own, ContextSettings { yarn_orig_ctx: 32_768, ..unset() }, None),
            (
                RopeFacts::default(),
                ContextSettings { yarn_ext_factor: 1.0, yarn_orig_ctx: 32_768, ..unset() },
                None,
            ),
        ] {
            let found = facts.without_effect(&settings.rope());
            assert_eq!(found.is_some(), told.is_some(), "{settings:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(told.unwrap_or_default()), "{found:?}");
        }
    }
}
