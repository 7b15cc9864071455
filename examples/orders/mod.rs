//! What the two programs of the README's comparison share: orders that are made in steps.

use std::time::Duration;

/// An order that takes this many steps.
pub(crate) struct Order {
    /// How many there are.
    pub(crate) steps: u64,
}

/// A step of an order.
#[derive(serde::Serialize)]
pub(crate) struct Step {
    number: u64,
}

/// An order that broke on the way.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Broken {
    at: u64,
}

/// Order 404 does not exist; order 500 breaks at its third step.
pub(crate) async fn find(id: u64) -> Option<Order> {
    (id != 404).then_some(Order {
        steps: if id == 500 { 9 } else { 3 },
    })
}

impl Order {
    /// Makes a step.
    pub(crate) async fn step(&self, number: u64) -> Result<Step, Broken> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match (self.steps, number) {
            (9, 3) => Err(Broken { at: number }),
            _ => Ok(Step { number }),
        }
    }
}
