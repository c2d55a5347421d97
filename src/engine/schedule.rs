//! The scheduler's decisions, apart from their effects: which seats are taken, what goes
//! into the next step and what that costs.

mod cost;
mod decode;
mod seats;
mod steps;

pub(super) use self::cost::{StepCost, TILE};
pub(super) use self::decode::DecodeCost;
pub(super) use self::seats::{SeatView, anchor, cheapest, gap, open, pays_to_move};
pub(super) use self::steps::{StepKind, Want, kind, plan_prompts, plan_streams};
