//! The search against slower and simpler judges, on random histories.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::json::{JsonAnswer, JsonOp, JsonRegister};
use super::kv::{StringAnswer, StringOp, Strings};
use super::parallel::Stop;
use super::register::{Register, RegisterAnswer, RegisterOp};
use super::search::{Found, Search};
use super::*;

type History<M> = Vec<Operation<<M as Model>::Input, <M as Model>::Output>>;

/// Whether some order exists, by trying all: no memory, no shortcuts.
fn some_order_exists<M: Model>(model: &M, state: &M::State, left: &[&Operation<M::Input, M::Output>]) -> bool {
    let returned = |operation: &&Operation<M::Input, M::Output>| match operation.outcome {
        Outcome::Returned { at, .. } => Some(at),
        _ => None,
    };
    let Some(first_return) = left.iter().filter_map(returned).min() else { return true };
    (0..left.len()).filter(|nth| left[*nth].called < first_return).any(|nth| {
        let output = match &left[nth].outcome {
            Outcome::Returned { output, .. } => Some(output),
            Outcome::Open => None,
            Outcome::Failed => return false,
        };
        let rest = [&left[..nth], &left[nth + 1..]].concat();
        model.step(state, &left[nth].input, output).is_some_and(|next| some_order_exists(model, &next, &rest))
    })
}

/// Asserts that operations could have happened in this order.
fn assert_is_order<M: Model>(model: &M, history: &History<M>, order: &[usize]) {
    let mut state = model.initial();
    let mut latest_call = Position(0);
    for nth in order {
        let Operation { input, called, outcome, .. } = &history[*nth];
        latest_call = latest_call.max(*called);
        let output = match outcome {
            Outcome::Returned { output, at } => {
                assert!(latest_call < *at, "operation {nth} returned before one called that is ordered before it");
                Some(output)
            }
            Outcome::Open => None,
            Outcome::Failed => panic!("operation {nth} failed and has a place in the order"),
        };
        state = model.step(&state, input, output).expect("the order follows the model");
    }
    let mut places = order.to_vec();
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), order.len(), "an operation has two places");
}

/// Searches, and checks that an order that was found is one.
fn search<M: Model>(model: &M, history: &History<M>) -> Found {
    let operations: Vec<_> = history.iter().collect();
    let found = Search::new(model, &operations).run(Stop::at(None), 1 << 22);
    if let Found::Order(order) = &found {
        assert_is_order(model, history, order);
        let mut places = order.clone();
        places.sort_unstable();
        let is_returned = |nth: &usize| matches!(history[*nth].outcome, Outcome::Returned { .. });
        let returned = history.iter().filter(|operation| matches!(operation.outcome, Outcome::Returned { .. }));
        assert_eq!(places.iter().filter(|nth| is_returned(nth)).count(), returned.count());
    }
    found
}

fn assert_same_verdict<M: Model>(model: &M, history: &History<M>)
where
    M::Input: Debug,
    M::Output: Debug,
{
    let expected = some_order_exists(model, &model.initial(), &history.iter().collect::<Vec<_>>());
    let found = search(model, history);
    assert_eq!(matches!(found, Found::Order(_)), expected, "{found:?} of {history:#?}");
    assert!(!matches!(found, Found::Exhausted(_)));
}

/// How an operation ends: one in three never returns, one in twelve fails.
fn end<O>(dice: u8, output: O, at: Position) -> Outcome<O> {
    match dice {
        0..4 => Outcome::Open,
        4 => Outcome::Failed,
        _ => Outcome::Returned { output, at },
    }
}

/// Histories of up to `most` operations with calls and returns shuffled.
fn shuffled<I: Clone + Debug + 'static, O: Clone + Debug + 'static>(
    operation: impl Strategy<Value = (I, O)> + 'static,
    most: usize,
) -> impl Strategy<Value = Vec<Operation<I, O>>> {
    prop::collection::vec((operation, 0u8..12), 1..=most).prop_flat_map(|operations| {
        let positions: Vec<u64> = (0..2 * operations.len() as u64).collect();
        (Just(operations), Just(positions).prop_shuffle()).prop_map(|(operations, positions)| {
            let build = |(nth, ((input, output), dice)): (usize, ((I, O), u8))| {
                let (one, other) = (positions[2 * nth], positions[2 * nth + 1]);
                let (called, at) = (Position(one.min(other)), Position(one.max(other)));
                Operation { process: nth as u64, input, called, outcome: end(dice, output, at) }
            };
            operations.into_iter().enumerate().map(build).collect()
        })
    })
}

fn register_operation() -> impl Strategy<Value = (Keyed<RegisterOp<u8>>, RegisterAnswer<u8>)> {
    let value = || 0u8..3;
    let cas = (value(), value(), any::<bool>(), any::<bool>()).prop_map(|(from, to, create, done)| {
        let answer = if done { RegisterAnswer::Done } else { RegisterAnswer::Refused };
        (RegisterOp::Cas { from, to, create }, answer)
    });
    let operation = prop_oneof![
        4 => prop::option::weighted(0.8, value()).prop_map(|value| (RegisterOp::Read, RegisterAnswer::Value(value))),
        3 => value().prop_map(|value| (RegisterOp::Write(value), RegisterAnswer::Done)),
        3 => cas,
        1 => any::<bool>().prop_map(|existed| (RegisterOp::Delete, RegisterAnswer::Deleted(existed))),
        1 => Just((RegisterOp::Delete, RegisterAnswer::Done)),
    ];
    operation.prop_map(|(op, answer)| (Keyed::new("k", op), answer))
}

fn string_operation() -> impl Strategy<Value = (Keyed<StringOp>, StringAnswer)> {
    let operation = prop_oneof![
        2 => "[ab]{0,3}".prop_map(|value| (StringOp::Get, StringAnswer::Value(value))),
        2 => "[ab]".prop_map(|value| (StringOp::Append(value), StringAnswer::Done)),
        1 => "[ab]".prop_map(|value| (StringOp::Put(value), StringAnswer::Done)),
    ];
    operation.prop_map(|(op, answer)| (Keyed::new("k", op), answer))
}

/// Values of which some look like strings, some like none, and one is neither.
fn json_operation() -> impl Strategy<Value = (Keyed<JsonOp>, JsonAnswer)> {
    let value = || prop_oneof![Just(json!(null)), Just(json!("a")), Just(json!("ab")), Just(json!(1))];
    let answer = |done| if done { JsonAnswer::Done } else { JsonAnswer::Refused };
    let cas = (value(), value(), any::<bool>(), any::<bool>())
        .prop_map(move |(from, to, create, done)| (JsonOp::Cas { from, to, create }, answer(done)));
    let operation = prop_oneof![
        4 => value().prop_map(|value| (JsonOp::Read, JsonAnswer::Value(value))),
        2 => value().prop_map(|value| (JsonOp::Write(value), JsonAnswer::Done)),
        2 => "[ab]".prop_map(|end| (JsonOp::Append(end), JsonAnswer::Done)),
        3 => cas,
        2 => prop_oneof![Just(JsonAnswer::Done), Just(JsonAnswer::Deleted(true)), Just(JsonAnswer::Deleted(false))]
            .prop_map(|answer| (JsonOp::Delete, answer)),
    ];
    operation.prop_map(|(op, answer)| (Keyed::new("k", op), answer))
}

/// A run of `processes` clients against one object that is linearizable by construction. Each die decides what one client
/// does next: call, take effect, return, or give up, before or after the effect. `answers` are those that may be right in a
/// state.
fn run_of<M: Model>(
    model: &M,
    processes: u64,
    dice: &[(u64, u8, u8)],
    input: impl Fn(u8, u8, usize) -> M::Input,
    answers: impl Fn(&M::State) -> Vec<M::Output>,
) -> History<M> {
    let mut state = model.initial();
    let mut history: History<M> = Vec::new();
    let mut busy: BTreeMap<u64, (usize, Option<M::Output>)> = BTreeMap::new();
    for ((process, what, argument), position) in dice.iter().zip(0..) {
        let process = process % processes;
        let Some((nth, answer)) = busy.get_mut(&process) else {
            busy.insert(process, (history.len(), None));
            let (input, called) = (input(*what, *argument, history.len()), Position(position));
            history.push(Operation { process, input, called, outcome: Outcome::Open });
            continue;
        };
        match answer.take() {
            _ if what % 32 == 31 => drop(busy.remove(&process)),
            Some(output) => {
                history[*nth].outcome = Outcome::Returned { output, at: Position(position) };
                busy.remove(&process);
            }
            None => {
                let input = &history[*nth].input;
                let step = |output| Some((model.step(&state, input, Some(&output))?, output));
                let taken = answers(&state).into_iter().find_map(step);
                let (next, output) = taken.expect("one of the answers is right");
                (state, *answer) = (next, Some(output));
            }
        }
    }
    history
}

/// Such a run against a register.
fn run(processes: u64, dice: &[(u64, u8, u8)]) -> History<Register<u8>> {
    let input = |what: u8, argument: u8, _: usize| {
        let op = match what % 4 {
            0 => RegisterOp::Write(argument),
            1 => RegisterOp::Cas { from: argument, to: argument.wrapping_add(1) % 5, create: false },
            _ => RegisterOp::Read,
        };
        Keyed::new("k", op)
    };
    let answers =
        |value: &Option<u8>| vec![RegisterAnswer::Value(*value), RegisterAnswer::Done, RegisterAnswer::Refused];
    run_of(&Register::empty(), processes, dice, input, answers)
}

/// Such a run against a string, of which every change is another one; one in `puts` sets it, the others append.
fn run_of_strings(processes: u64, dice: &[(u64, u8, u8)], puts: usize) -> History<Strings> {
    let input = |what: u8, _: u8, nth: usize| {
        let op = match what % 3 {
            0 => StringOp::Get,
            _ if nth.is_multiple_of(puts) => StringOp::Put(format!("{nth},")),
            _ => StringOp::Append(format!("{nth},")),
        };
        Keyed::new("k", op)
    };
    let answers = |value: &String| vec![StringAnswer::Value(value.clone()), StringAnswer::Done];
    run_of(&Strings, processes, dice, input, answers)
}

fn dice(most: usize) -> impl Strategy<Value = Vec<(u64, u8, u8)>> {
    prop::collection::vec((any::<u64>(), any::<u8>(), 0u8..5), 1..most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn registers_are_judged_as_by_trying_every_order(history in shuffled(register_operation(), 7)) {
        assert_same_verdict(&Register::empty(), &history);
    }

    #[test]
    fn strings_are_judged_as_by_trying_every_order(history in shuffled(string_operation(), 7)) {
        assert_same_verdict(&Strings, &history);
    }

    #[test]
    fn json_registers_are_judged_as_by_trying_every_order(
        history in shuffled(json_operation(), 7),
        initial in prop_oneof![Just(json!(null)), Just(json!(""))],
    ) {
        assert_same_verdict(&JsonRegister::starting_with(initial), &history);
    }
}

proptest! {
    // Each takes threads.
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn partial_orders_are_orders_and_the_longest_with_each_operation_left_out(
        history in shuffled(register_operation(), 7),
    ) {
        let register = Register::empty();
        if let Verdict::NotLinearizable(found) = check(&register, &history, Limits::default()) {
            let orders = partial_orders(&register, &history, &found, Limits::default());
            prop_assert_eq!(&orders[0], &found.longest);
            for order in &orders {
                assert_is_order(&register, &history, order);
            }
            prop_assert!(found.unplaced.iter().all(|nth| !found.longest.contains(nth)));
            let has_one_left_out =
                |order: &Vec<usize>| order.iter().any(|nth| *nth == found.stuck || found.unplaced.contains(nth));
            prop_assert!(orders[1..].iter().all(has_one_left_out));
        }
    }

    #[test]
    fn keys_judged_at_once_are_judged_as_one_after_the_other(
        parts in prop::collection::vec(shuffled(register_operation(), 5), 1..12),
    ) {
        let mut history: History<Register<u8>> = Vec::new();
        let mut expected = None;
        let register = Register::empty();
        let mut sizes: Vec<usize> = (0..parts.len()).collect();
        sizes.sort_by_key(|nth| (parts[*nth].len(), key_of(*nth)));
        for nth in sizes {
            let wrong = !some_order_exists(&register, &None, &parts[nth].iter().collect::<Vec<_>>());
            expected = expected.or(wrong.then(|| key_of(nth)));
        }
        for (nth, part) in parts.into_iter().enumerate() {
            let of_key = |mut operation: Operation<Keyed<RegisterOp<u8>>, _>| {
                operation.input.key = key_of(nth);
                operation
            };
            history.extend(part.into_iter().map(of_key));
        }
        // So many more of one key that threads are worth it.
        let many = |at: u64| keyed("many", RegisterOp::Write(0), 2 * at, 2 * at + 1, RegisterAnswer::Done);
        history.extend((0..1000).map(many));
        let key = match check(&register, &history, Limits::default()) {
            Verdict::NotLinearizable(found) => Some(found.key),
            _ => None,
        };
        prop_assert_eq!(key, expected);
    }
}

proptest! {
    #[test]
    fn linearizable_runs_are_found_to_be(processes in 1u64..12, dice in dice(600)) {
        let history = run(processes, &dice);
        prop_assert!(matches!(search(&Register::empty(), &history), Found::Order(_)));
    }

    #[test]
    fn linearizable_runs_of_strings_are_found_to_be(processes in 1u64..8, dice in dice(200), puts in 2usize..20) {
        let history = run_of_strings(processes, &dice, puts);
        prop_assert!(matches!(search(&Strings, &history), Found::Order(_)));
    }

    #[test]
    fn a_value_that_nobody_wrote_is_always_noticed(
        processes in 1u64..8,
        dice in dice(400),
        which in any::<prop::sample::Index>(),
    ) {
        let mut history = run(processes, &dice);
        let reads: Vec<usize> = (0..history.len())
            .filter(|nth| matches!(history[*nth].outcome, Outcome::Returned { output: RegisterAnswer::Value(_), .. }))
            .collect();
        prop_assume!(!reads.is_empty());
        let nth = reads[which.index(reads.len())];
        if let Outcome::Returned { output, .. } = &mut history[nth].outcome {
            *output = RegisterAnswer::Value(Some(99));
        }
        let found = check(&Register::empty(), &history, Limits::default());
        let Verdict::NotLinearizable(found) = found else { panic!("{found}") };
        prop_assert!(!found.longest.contains(&nth));
        let text = found.describe(&history);
        prop_assert_eq!(text.lines().filter(|line| line.contains("does not fit")).count(), 1, "{}", text);
    }
}

fn key_of(nth: usize) -> String {
    format!("{nth:02}")
}

fn keyed(
    key: &str,
    op: RegisterOp<u8>,
    called: u64,
    returned: u64,
    output: RegisterAnswer<u8>,
) -> Operation<Keyed<RegisterOp<u8>>, RegisterAnswer<u8>> {
    let outcome = Outcome::Returned { output, at: Position(returned) };
    Operation { process: 0, input: Keyed::new(key, op), called: Position(called), outcome }
}

#[test]
fn keys_are_judged_by_themselves_and_the_wrong_one_is_named() {
    let read = |key, at, value| keyed(key, RegisterOp::Read, at, at + 1, RegisterAnswer::Value(value));
    let write = |key, at, value| keyed(key, RegisterOp::Write(value), at, at + 1, RegisterAnswer::Done);
    let mut history = vec![write("a", 0, 1), write("b", 2, 2), read("a", 4, Some(1)), read("b", 6, Some(2))];
    assert!(check(&Register::empty(), &history, Limits::default()).is_linearizable());
    history.push(read("b", 8, Some(1)));
    let expected = Counterexample { key: "b".into(), longest: vec![1, 3], stuck: 4, unplaced: vec![] };
    assert_eq!(check(&Register::empty(), &history, Limits::default()), Verdict::NotLinearizable(expected));
}

#[test]
fn a_search_without_time_or_memory_does_not_guess() {
    // Sixteen different writes at once, and a compare-and-set that found what none of them wrote.
    let write = |nth: u64| keyed("k", RegisterOp::Write(nth as u8), nth, 100 + nth, RegisterAnswer::Done);
    let mut history: History<Register<u8>> = (0..16).map(write).collect();
    let cas = RegisterOp::Cas { from: 99, to: 99, create: false };
    history.push(keyed("k", cas, 50, 51, RegisterAnswer::Done));
    let limits = |time, configurations| Limits { time, configurations };
    let register = Register::empty();
    let judge = |limits| check(&register, &history, limits);
    assert_eq!(judge(limits(Duration::ZERO, usize::MAX)), Verdict::Unknown(Exhausted::Time));
    assert_eq!(judge(limits(Duration::MAX, 10)), Verdict::Unknown(Exhausted::Configurations));
}

#[test]
fn many_operations_without_a_return_do_not_make_the_search_explode() {
    // A hundred writes of ten values of which nobody knows the end, then reads that see half of the values.
    let mut history: History<Register<u8>> = Vec::new();
    for nth in 0..100u8 {
        let input = Keyed::new("k", RegisterOp::Write(nth % 10));
        history.push(Operation { process: 1, input, called: Position(nth.into()), outcome: Outcome::Open });
    }
    for nth in 0..50u64 {
        let at = 100 + 2 * nth;
        history.push(keyed("k", RegisterOp::Read, at, at + 1, RegisterAnswer::Value(Some((nth % 5) as u8))));
    }
    assert!(check(&Register::empty(), &history, Limits::default()).is_linearizable());
    for (nth, value) in [(0, 20), (1, 21)] {
        let at = 200 + 2 * nth;
        history.push(keyed("k", RegisterOp::Read, at, at + 1, RegisterAnswer::Value(Some(value))));
    }
    let verdict = check(&Register::empty(), &history, Limits::default());
    assert!(matches!(verdict, Verdict::NotLinearizable(_)), "{verdict}");
}

/// Dice that are always the same.
fn fixed_dice(count: usize) -> Vec<(u64, u8, u8)> {
    let mut seed = 1u64;
    let mut die = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        seed >> 33
    };
    (0..count).map(|_| (die(), (die() % 31) as u8, (die() % 5) as u8)).collect()
}

#[test]
fn appends_by_many_clients_at_once_are_not_tried_in_every_order() {
    let dice = fixed_dice(3_000);
    for processes in [20, 50] {
        let history = run_of_strings(processes, &dice, usize::MAX);
        assert!(history.len() > 900);
        let operations: Vec<_> = history.iter().collect();
        let found = Search::new(&Strings, &operations).run(Stop::at(None), 20_000);
        assert!(matches!(found, Found::Order(_)), "{processes} clients");
    }
}

#[test]
fn a_long_history_takes_time_and_memory_in_proportion() {
    let history = run(8, &fixed_dice(300_000));
    assert!(history.len() > 90_000);
    let start = Instant::now();
    assert!(matches!(search(&Register::empty(), &history), Found::Order(_)));
    println!("{} operations in {:?}", history.len(), start.elapsed());
}
