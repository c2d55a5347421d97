//! What rules must not do: name one that is not there, or begin with themselves.

use std::collections::{BTreeSet, HashMap};

use super::{Alternatives, Element, Error, Parsed, Repeated, Rule};

/// That all names are rules, and that no rule begins with itself.
pub(super) fn check(rules: &[Rule], places: &HashMap<String, usize>) -> Parsed<()> {
    for rule in rules {
        undefined(&rule.body, places)?;
    }
    // Rules that may be empty: until no more are found.
    let mut empty = BTreeSet::new();
    loop {
        let before = empty.len();
        for (i, rule) in rules.iter().enumerate() {
            if rule
                .body
                .iter()
                .any(|sequence| sequence.iter().all(|one| may_be_empty(one, places, &empty)))
            {
                empty.insert(i);
            }
        }
        if empty.len() == before {
            break;
        }
    }
    let firsts: Vec<BTreeSet<usize>> = rules
        .iter()
        .map(|rule| {
            let mut names = BTreeSet::new();
            first_names(&rule.body, places, &empty, &mut names);
            names
        })
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<usize> = firsts[i].iter().copied().collect();
        while let Some(next) = todo.pop() {
            if next == i {
                return Err(Error {
                    line: rule.line,
                    message: format!("the rule `{}` begins with itself", rule.name),
                });
            }
            if seen.insert(next) {
                todo.extend(&firsts[next]);
            }
        }
    }
    Ok(())
}

fn undefined(body: &Alternatives, places: &HashMap<String, usize>) -> Parsed<()> {
    for one in body.iter().flatten() {
        match &one.element {
            Element::Name { name, line } if !places.contains_key(name) => {
                return Err(Error { line: *line, message: format!("there is no rule `{name}`") });
            }
            Element::Group(inner) => undefined(inner, places)?,
            _ => {}
        }
    }
    Ok(())
}

fn may_be_empty(one: &Repeated, places: &HashMap<String, usize>, empty: &BTreeSet<usize>) -> bool {
    one.least == 0
        || match &one.element {
            Element::Literal(text) => text.is_empty(),
            Element::Class(_) | Element::Token { .. } => false,
            Element::Name { name, .. } => {
                places.get(name).is_some_and(|place| empty.contains(place))
            }
            Element::Group(inner) => inner
                .iter()
                .any(|sequence| sequence.iter().all(|one| may_be_empty(one, places, empty))),
        }
}

/// The rules that the alternatives can begin with.
fn first_names(
    body: &Alternatives,
    places: &HashMap<String, usize>,
    empty: &BTreeSet<usize>,
    names: &mut BTreeSet<usize>,
) {
    for sequence in body {
        for one in sequence {
            match &one.element {
                Element::Name { name, .. } => names.extend(places.get(name)),
                Element::Group(inner) => first_names(inner, places, empty, names),
                _ => {}
            }
            if !may_be_empty(one, places, empty) {
                break;
            }
        }
    }
}
