//! A stand-in for a language model. It always gives the same answer to the same question.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

#[derive(Clone, Default)]
pub(crate) struct Model(Arc<Counts>);

#[derive(Default)]
struct Counts {
    answers: AtomicU64,
    busy: AtomicUsize,
}

/// An answer in progress. The model only works on it while `next` is being awaited.
pub(crate) struct Words {
    model: Model,
    id: u64,
    words: Vec<String>,
    written: usize,
}

impl Model {
    pub(crate) fn answer(&self, question: &str) -> Words {
        self.0.busy.fetch_add(1, Relaxed);
        Words {
            model: self.clone(),
            id: self.0.answers.fetch_add(1, Relaxed) + 1,
            words: text(question)
                .split_inclusive(' ')
                .map(str::to_owned)
                .collect(),
            written: 0,
        }
    }

    /// Returns the number of answers in progress.
    pub(crate) fn busy(&self) -> usize {
        self.0.busy.load(Relaxed)
    }
}

impl Words {
    pub(crate) async fn next(&mut self) -> Option<String> {
        let word = self.words.get(self.written)?.clone();
        tokio::time::sleep(Duration::from_millis(40)).await;
        self.written += 1;
        Some(word)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn written(&self) -> usize {
        self.written
    }
}

// There is no need to check whether the client is still connected. When it disconnects, the generator
// is dropped at its current `.await`, together with the answer. The same happens when a run is
// stopped.
impl Drop for Words {
    fn drop(&mut self) {
        self.model.0.busy.fetch_sub(1, Relaxed);
        let (id, written, all) = (self.id, self.written, self.words.len());
        let how = if written < all { "stopped" } else { "finished" };
        let busy = self.model.busy();
        println!("answer {id}: {how} after {written} of {all} words; {busy} more in progress");
    }
}

fn text(question: &str) -> String {
    let topic = topic(question).unwrap_or("nothing in particular");
    let seed: usize = question.bytes().map(usize::from).sum();
    let opening = OPENINGS[seed % OPENINGS.len()].replace("{}", topic);
    let fact = |n| FACTS[(seed + n) % FACTS.len()];
    let ending = ENDINGS[seed % ENDINGS.len()].replace("{}", topic);
    format!(
        "{opening} {} {}\n\n{} {} {ending}",
        fact(0),
        fact(1),
        fact(2),
        fact(3)
    )
}

/// Guesses the subject of the question by picking the longest word after the first one, which is
/// usually "What" or "How".
fn topic(question: &str) -> Option<&str> {
    let words = question.split(|c: char| !c.is_alphanumeric() && c != '-');
    words
        .filter(|word| !word.is_empty())
        .enumerate()
        .max_by_key(|(at, word)| (*at > 0, word.chars().count()))
        .map(|(_, word)| word)
}

const OPENINGS: [&str; 3] = [
    "You asked about “{}”. I am only a parrot, and I know just one thing well: event streams.",
    "“{}” is a fine subject. It reminds me of how an answer like this one reaches you.",
    "Let me think about “{}” aloud, as language models do, one word at a time.",
];

const FACTS: [&str; 8] = [
    "A server-sent event is a few lines of text followed by a blank one.",
    "The response never has to say how long it will be, so it can go on for a minute or a day.",
    "Every word arrives on its own, because nothing between us waits for the next one.",
    "There is no second protocol: it is HTTP all the way, and every proxy has seen it before.",
    "When a connection breaks, the browser reconnects and says which event it saw last.",
    "A comment now and then keeps a quiet stream open, and no page ever sees it.",
    "If the server cannot answer, it says so with a status before the first event, and not after it.",
    "Text is all it carries, and JSON is text.",
];

const ENDINGS: [&str; 3] = [
    "Press Stop while I talk about “{}” and I fall silent mid-sentence, on the server too.",
    "Ask about “{}” again and I will say exactly the same: a parrot is deterministic.",
    "That is all I know about “{}”, and perhaps a little more.",
];
