//! Orders that are processed in steps, for the two programs that the README compares.

use std::time::Duration;

/// An order that is processed in steps.
pub(crate) struct Order {
    /// The number of steps.
    pub(crate) steps: u64,
}

/// A completed step of an order.
#[derive(serde::Serialize)]
pub(crate) struct Step {
    number: u64,
}

/// The error returned if a step of an order fails.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Broken {
    at: u64,
}

/// Finds an order. Order 404 does not exist, and order 500 fails at its third step.
pub(crate) async fn find(id: u64) -> Option<Order> {
    (id != 404).then_some(Order {
        steps: if id == 500 { 9 } else { 3 },
    })
}

impl Order {
    /// Completes a step.
    pub(crate) async fn step(&self, number: u64) -> Result<Step, Broken> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match (self.steps, number) {
            (9, 3) => Err(Broken { at: number }),
            _ => Ok(Step { number }),
        }
    }
}
