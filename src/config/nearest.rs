//! The name that somebody probably meant.

/// The candidate most like `word`, if any is close enough to be worth suggesting.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|name| {
            let lower = name.to_lowercase();
            let alike = strsim::jaro_winkler(&word, &lower)
                .max(strsim::normalized_damerau_levenshtein(&word, &lower));
            (name, alike)
        })
        .filter(|(_, alike)| *alike >= 0.75)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(name, _)| name)
}

/// `; did you mean NAME?` or nothing.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}
