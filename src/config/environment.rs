//! The layer of variables, from the environment or an environment file.

use super::assignment::Assignment;
use super::catalogue::{Key, Kind, key, keys};
use super::error::ConfigError;
use super::names::{BINDINGS, CONFIG_VARIABLE, MODEL_ALIAS, MODEL_FILE, negative_variable};
use super::nearest::suggestion;
use super::origin::Origin;
use super::syntax::{Syntax, parse, remark};
use super::unsupported::{self, Policy, UNSUPPORTED};

/// What is wrong with a variable that has bytes which are no text.
pub(crate) const NOT_TEXT: &str = "the value is not UTF-8 text; set it to UTF-8 text";

/// A variable and where it was set.
#[derive(Debug, Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// None: not UTF-8.
    pub(crate) value: Option<String>,
    pub(crate) origin: Origin,
}

/// What the variables set, weakest first: the environment file's own names, llama-server's, ours.
pub(crate) fn assignments(
    variables: &[Variable],
    warnings: &mut Vec<String>,
) -> Result<Vec<Assignment>, ConfigError> {
    let mut layer = Layer { variables, assignments: Vec::new(), warnings };
    layer.model_file()?;
    layer.llama()?;
    layer.ours()?;
    layer.unsupported()?;
    Ok(layer.assignments)
}

struct Layer<'a> {
    variables: &'a [Variable],
    assignments: Vec<Assignment>,
    warnings: &'a mut Vec<String>,
}

impl<'a> Layer<'a> {
    /// The last setting of `name`: a later line of a file wins.
    fn find(&self, name: &str) -> Option<&'a Variable> {
        self.variables.iter().rev().find(|variable| variable.name == name)
    }

    fn model_file(&mut self) -> Result<(), ConfigError> {
        for (name, path) in [(MODEL_FILE, "model.path"), (MODEL_ALIAS, "model.alias")] {
            if let (Some(variable), Some(key)) = (self.find(name), key(path))
                && matches!(variable.origin, Origin::EnvFile { .. })
            {
                self.assign(key, Syntax::Plain, variable)?;
            }
        }
        Ok(())
    }

    fn llama(&mut self) -> Result<(), ConfigError> {
        for binding in BINDINGS {
            let Some(key) = key(binding.key) else { continue };
            for name in binding.env {
                if let Some(variable) = self.find(name) {
                    self.assign(key, binding.syntax, variable)?;
                    let value = variable.value.as_deref().unwrap_or_default();
                    if let Some(why) = remark(binding.syntax, value) {
                        let named = place(&variable.origin, name);
                        self.warnings.push(format!("{named} {why}"));
                    }
                }
                // llama-server reads the negative form whatever its value, and before the other.
                if key.kind == Kind::Bool
                    && binding.syntax == Syntax::Plain
                    && let Some(variable) = negative_variable(name).and_then(|n| self.find(&n))
                {
                    self.assignments.push(Assignment {
                        key,
                        value: false.into(),
                        origin: variable.origin.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn ours(&mut self) -> Result<(), ConfigError> {
        for variable in self.variables {
            let name = variable.name.as_str();
            if !name.starts_with("STRIXHALO_") || name == CONFIG_VARIABLE {
                continue;
            }
            match keys().iter().find(|key| key.variable() == name) {
                Some(key) => self.assign(key, syntax_of(key), variable)?,
                None => {
                    let ours: Vec<String> = keys()
                        .iter()
                        .map(Key::variable)
                        .chain([CONFIG_VARIABLE.to_owned()])
                        .collect();
                    let near = suggestion(name, ours.iter().map(String::as_str));
                    self.warnings
                        .push(format!("{} sets nothing{near}", place(&variable.origin, name)));
                }
            }
        }
        Ok(())
    }

    fn unsupported(&mut self) -> Result<(), ConfigError> {
        for variable in self.variables {
            let name = variable.name.as_str();
            if !name.starts_with("LLAMA_ARG_") || is_known(name) {
                continue;
            }
            let named = place(&variable.origin, name);
            let Some((row, negative)) = unsupported::of_variable(name) else {
                let known = BINDINGS.iter().flat_map(|b| b.env).copied();
                let near = suggestion(name, known.chain(UNSUPPORTED.iter().map(|row| row.env)));
                self.warnings.push(format!("{named} is not known and has no effect{near}"));
                continue;
            };
            let value = if negative { Some("false") } else { variable.value.as_deref() };
            if value.is_some_and(|value| value.trim().is_empty() || row.is_fine(value)) {
                continue;
            }
            if row.policy == Policy::Refuse {
                return Err(ConfigError::new(super::ErrorKind::Usage, row.message(&named)));
            }
            self.warnings.push(row.message(&named));
        }
        Ok(())
    }

    fn assign(
        &mut self,
        key: &'static Key,
        syntax: Syntax,
        variable: &Variable,
    ) -> Result<(), ConfigError> {
        let origin = &variable.origin;
        let named = place(origin, &variable.name);
        let wrong = |problem: &str| {
            ConfigError::new(origin.error_kind(), format!("{named} ({}): {problem}", key.path))
        };
        let Some(text) = variable.value.as_deref() else {
            return Err(wrong(NOT_TEXT));
        };
        // Compose files pass unset values on as empty ones.
        if text.trim().is_empty() {
            // Falling back to the demo model would hide that the name is missing.
            if key.path == "model.path" {
                return Err(wrong("it is empty; set it to a GGUF file, or unset it"));
            }
            if key.path.starts_with("server.api_key") {
                self.warnings.push(format!("{named} is empty and therefore asks for no key"));
            }
            return Ok(());
        }
        if let Some(value) = parse(syntax, key, text).map_err(|problem| wrong(&problem))? {
            self.assignments.push(Assignment { key, value, origin: origin.clone() });
        }
        Ok(())
    }
}

/// How our own variable for a key is written: like its flag where that is more than the key's
/// kind, so that `all` or `-1` work there as well.
fn syntax_of(key: &Key) -> Syntax {
    let of_key = BINDINGS.iter().filter(|binding| binding.key == key.path);
    let special = of_key.map(|binding| binding.syntax).find(|syntax| {
        matches!(
            syntax,
            Syntax::GpuLayers
                | Syntax::DefaultIfNegative
                | Syntax::ZeroIfNegative
                | Syntax::FlashAttn
        )
    });
    special.unwrap_or(Syntax::Plain)
}

/// Whether a variable of llama-server sets one of our keys.
fn is_known(name: &str) -> bool {
    BINDINGS.iter().any(|binding| {
        binding.env.iter().any(|variable| {
            *variable == name
                || (key(binding.key).is_some_and(|key| key.kind == Kind::Bool)
                    && negative_variable(variable).as_deref() == Some(name))
        })
    })
}

fn place(origin: &Origin, name: &str) -> String {
    origin.source().unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::error::ErrorKind;
    use super::*;

    type Set = Result<Vec<(String, Value)>, ConfigError>;

    /// What the variables set, and the warnings.
    fn read(variables: &[(&str, &str)]) -> (Set, Vec<String>) {
        let variables: Vec<Variable> = variables
            .iter()
            .map(|(name, value)| Variable {
                name: (*name).to_owned(),
                value: Some((*value).to_owned()),
                origin: Origin::Environment { name: (*name).to_owned() },
            })
            .collect();
        let mut warnings = Vec::new();
        let result = assignments(&variables, &mut warnings)
            .map(|all| all.into_iter().map(|a| (a.key.path.clone(), a.value)).collect());
        (result, warnings)
    }

    fn last(variables: &[(&str, &str)], path: &str) -> Value {
        let (result, warnings) = read(variables);
        assert_eq!(warnings, Vec::<String>::new());
        result.unwrap().into_iter().rev().find(|(key, _)| key == path).unwrap().1
    }

    #[test]
    fn the_seeds_variables_mean_what_they_meant() {
        let seed = [
            ("LLAMA_ARG_MODEL", "/models/a.gguf"),
            ("LLAMA_ARG_ALIAS", "a,b"),
            ("LLAMA_ARG_CTX_SIZE", "524288"),
            ("LLAMA_ARG_N_PARALLEL", "2"),
            ("LLAMA_ARG_N_GPU_LAYERS", "999"),
            ("LLAMA_ARG_FLASH_ATTN", "on"),
            ("LLAMA_ARG_CACHE_TYPE_K", "q8_0"),
            ("LLAMA_ARG_CACHE_TYPE_V", "q8_0"),
            ("LLAMA_ARG_MMAP", "false"),
            ("LLAMA_ARG_JINJA", "true"),
            ("LLAMA_ARG_BATCH", "2048"),
            ("LLAMA_ARG_UBATCH", "512"),
            ("LLAMA_ARG_TOP_K", "40"),
            ("LLAMA_ARG_ENDPOINT_METRICS", "true"),
        ];
        let (result, warnings) = read(&seed);
        assert_eq!(warnings, Vec::<String>::new());
        let set = result.unwrap();
        assert_eq!(set.len(), seed.len() - 1, "all but JINJA, which is always on: {set:?}");
        assert!(set.contains(&("model.alias".to_owned(), json!(["a", "b"]))));
        assert!(set.contains(&("model.mmap".to_owned(), json!(false))));
    }

    #[test]
    fn the_negative_form_wins_whatever_its_value() {
        let both = [("LLAMA_ARG_NO_MMAP", "false"), ("LLAMA_ARG_MMAP", "true")];
        assert_eq!(last(&both, "model.mmap"), json!(false));
        assert_eq!(last(&[("LLAMA_ARG_LOAD_MODE", "mmap")], "model.mmap"), json!(true));
        assert_eq!(last(&[("LLAMA_ARG_LOAD_MODE", "mlock")], "model.mlock"), json!(true));
    }

    #[test]
    fn our_name_wins_over_llama_servers() {
        let both = [("STRIXHALO_SERVER__PORT", "1"), ("LLAMA_ARG_PORT", "2")];
        assert_eq!(last(&both, "server.port"), json!(1));
        assert_eq!(
            last(&[("STRIXHALO_MODEL__N_GPU_LAYERS", "all")], "model.n_gpu_layers"),
            json!(999)
        );
        assert_eq!(last(&[("STRIXHALO_LOG__LEVEL", "debug")], "log.level"), json!("debug"));
        assert_eq!(last(&[("STRIXHALO_LOG__FORMAT", "json")], "log.format"), json!("json"));
    }

    #[test]
    fn what_we_lack_is_named_and_what_matters_is_refused() {
        let (result, warnings) = read(&[("LLAMA_ARG_NUMA", "distribute")]);
        assert_eq!(result.unwrap(), []);
        assert!(warnings[0].starts_with("LLAMA_ARG_NUMA is not supported"), "{warnings:?}");
        for name in ["LLAMA_ARG_HF_REPO", "LLAMA_ARG_SSL_KEY_FILE", "LLAMA_ARG_MMPROJ"] {
            assert_eq!(read(&[(name, "x")]).0.unwrap_err().kind(), ErrorKind::Usage, "{name}");
            assert!(read(&[(name, "")]).0.is_ok(), "an empty {name} asks for nothing");
        }
        let (result, warnings) = read(&[("LLAMA_ARG_EMBEDDINGS", "0"), ("LLAMA_ARG_NO_UI", "1")]);
        assert!(result.is_ok() && warnings.is_empty(), "{warnings:?}");
        assert_eq!(read(&[("LLAMA_ARG_NO_JINJA", "1")]).1.len(), 1);
        assert_eq!(read(&[("LLAMA_ARG_JINJA", "off")]).1.len(), 1);
    }

    #[test]
    fn speculation_is_read_from_its_kinds() {
        let kinds = |text| read(&[("LLAMA_ARG_SPEC_TYPE", text)]);
        let (result, warnings) = kinds("none");
        assert_eq!((&result.unwrap()[0].1, warnings.len()), (&json!("off"), 0));
        let (result, warnings) = kinds("draft-mtp");
        assert_eq!(result.unwrap()[0].1, json!("auto"));
        assert!(warnings[0].starts_with("LLAMA_ARG_SPEC_TYPE names"), "{warnings:?}");
        assert_eq!(read(&[("LLAMA_ARG_SPEC_DRAFT_MODEL", "d.gguf")]).1.len(), 1);
    }

    #[test]
    fn unknown_names_are_told_with_the_nearest() {
        let (_, warnings) =
            read(&[("STRIXHALO_CONTEXT__CTX_SISE", "1"), ("LLAMA_ARG_CTX_SISE", "1")]);
        assert!(warnings[0].contains("did you mean STRIXHALO_CONTEXT__CTX_SIZE?"), "{warnings:?}");
        assert!(warnings[1].contains("did you mean LLAMA_ARG_CTX_SIZE?"), "{warnings:?}");
    }

    #[test]
    fn a_wrong_value_names_the_variable_and_not_the_secret() {
        let error = read(&[("LLAMA_ARG_CTX_SIZE", "4k")]).0.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Content);
        assert!(error.to_string().starts_with("LLAMA_ARG_CTX_SIZE (context.ctx_size): expected"));
        assert_eq!(read(&[("LLAMA_ARG_MODEL", "")]).0.unwrap_err().kind(), ErrorKind::Content);
        assert!(read(&[("LLAMA_API_KEY", " ")]).1[0].contains("asks for no key"));
    }
}
