//! The scheduler's decisions, apart from their effects: which slot takes a request, what goes
//! into the next step and what that costs.

mod cost;
mod slots;
mod steps;

pub(super) use self::cost::StepCost;
pub(super) use self::slots::{SlotView, anchor, choose_slot, common_prefix};
pub(super) use self::steps::{StepKind, Want, fillers, kind, plan_prompts, plan_streams};
