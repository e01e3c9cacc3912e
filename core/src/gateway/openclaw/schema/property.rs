//! The check against one that is slow and simple.

use super::tests::{SCHEMA, raw};
use super::{Kind, Values};
use quickcheck::quickcheck;
use serde_json::{Value, json};

/// What the check does, done slowly to a tree. It knows nothing of members that come twice.
fn fits(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Any, _) | (Kind::Number, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) => true,
        (Kind::Text { min, max }, Value::String(text)) => (*min..=*max).contains(&text.len()),
        (Kind::OneOf(words), Value::String(text)) => words.contains(&text.as_str()),
        (Kind::Integer { min, max }, Value::Number(number)) => {
            let whole = number.as_f64().filter(|number| number.fract() == 0.0);
            whole.is_some_and(|whole| (*min as f64..=*max as f64).contains(&whole))
        }
        (Kind::List(kind, most), Value::Array(items)) => {
            items.len() <= *most && items.iter().all(|item| fits(kind, item))
        }
        (Kind::Map(kind, most), Value::Object(members)) => {
            members.len() <= *most && members.values().all(|member| fits(kind, member))
        }
        (Kind::Object(fields), Value::Object(members)) => {
            let known = |name: &String| fields.iter().any(|field| field.name == name);
            members.keys().all(known)
                && fields.iter().all(|field| match members.get(field.name) {
                    None | Some(Value::Null) if !field.required => true,
                    None => false,
                    Some(member) => fits(&field.kind, member),
                })
        }
        _ => false,
    }
}

/// Takes choices off the list, so that every list of them is some JSON; mostly what fits.
fn make(kind: &Kind, choices: &mut impl Iterator<Item = u8>) -> Value {
    let choice = choices.next().unwrap_or_default();
    if choice > 245 {
        let odd = [json!(null), json!(1.5), json!(""), json!([[]]), json!({"name": {}}), json!(-1)];
        return odd[usize::from(choice) % odd.len()].clone();
    }
    let few = usize::from(choice % 4);
    match kind {
        Kind::Text { .. } => json!(["k", "\u{e4}", "abc", "long text"][few]),
        Kind::OneOf(words) => json!(words[few % words.len()]),
        Kind::Integer { .. } => json!([0, 9, -1, 4][few]),
        Kind::Number => json!([0.0, -0.5, 1e300, 7.0][few]),
        Kind::Boolean => json!(few > 1),
        Kind::Any => json!({"any": [null]}),
        Kind::List(kind, _) => (0..few).map(|_| make(kind, choices)).collect(),
        Kind::Map(kind, _) => {
            Value::Object((0..few).map(|at| (at.to_string(), make(kind, choices))).collect())
        }
        Kind::Object(fields) => {
            let skips = choices.next().unwrap_or(255);
            let members = fields.iter().enumerate().filter_map(|(at, field)| {
                let there = field.required || skips >> (at % 8) & 1 == 0;
                there.then(|| (field.name.to_string(), make(&field.kind, choices)))
            });
            Value::Object(members.collect())
        }
    }
}

quickcheck! {
    fn the_check_says_what_a_slow_one_says(choices: Vec<u8>) -> bool {
        let value = make(&Kind::Object(SCHEMA), &mut choices.into_iter());
        let text = value.to_string();
let read = Values::read(Some(raw(&text)), SCHEMA);
        read.is_ok() == fits(&Kind::Object(SCHEMA), &value)
    }
}
