//! What the server runs the GPU with: ROCm and its version, or Vulkan.

use super::process::libraries;
use super::service::Service;
use super::version::Version;
use crate::host::doctor::tree::Tree;

/// Where AMD's packages say their version.
const AMD_VERSION: &str = "opt/rocm/.info/version";

/// Libraries of the server, as far as they can be seen: of the process that serves, else of this
/// one, which is the same program.
#[derive(Debug, Default)]
pub(in crate::host::doctor) struct Runtime {
    /// The version of ROCm, and the file that tells it.
    pub(in crate::host::doctor) rocm: Option<(Version, String)>,
    /// Whether Vulkan is linked.
    pub(in crate::host::doctor) vulkan: bool,
    /// The directory of rocBLAS.
    pub(in crate::host::doctor) rocblas: Option<String>,
}

impl Runtime {
    pub(super) fn read(tree: &Tree, service: &Service) -> Self {
        let serving = service.pids.iter().map(|pid| libraries(tree, pid));
        let files = serving
            .chain([libraries(tree, "self")])
            .find(|files| !files.is_empty())
            .unwrap_or_default();
        let find = |name: &str| files.iter().find(|file| file.contains(name));
        let vulkan = find("/libvulkan.so").is_some();
        let rocm = match find("/libamdhip64.so") {
            Some(file) => hip_version(file).map(|version| (version, file.clone())),
            None if vulkan => None,
            // A server in a container, or a build without a GPU: what is installed is what is
            // meant.
            None => tree
                .text(AMD_VERSION)
                .and_then(|text| Some((Version::parse(&text)?, format!("/{AMD_VERSION}")))),
        };
        let rocblas = find("/librocblas.so").and_then(|file| file.rsplit_once('/'));
        Self { rocm, vulkan, rocblas: rocblas.map(|(directory, _)| directory.to_owned()) }
    }

    /// The version, if it is one before 7.2.
    pub(in crate::host::doctor) fn rocm_before_7_2(&self) -> Option<Version> {
        let version = self.rocm.as_ref().map(|(version, _)| *version);
        version.filter(|version| *version < Version(7, 2, 0))
    }
}

/// The version of ROCm by the path of its library: a Nix store path ends with it, and AMD writes
/// 6.4.1 as `libamdhip64.so.6.4.60401`.
fn hip_version(file: &str) -> Option<Version> {
    let package = file.strip_prefix("/nix/store/").and_then(|rest| rest.split('/').next());
    let of_package = package.and_then(|name| Version::parse(name.rsplit_once('-')?.1));
    of_package.or_else(|| {
        let Version(major, minor, build) = Version::parse(file.split(".so.").nth(1)?)?;
        let is_coded = build / 10_000 == major && build / 100 % 100 == minor;
        Some(Version(major, minor, if is_coded { build % 100 } else { 0 }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_rocm_is_in_the_path_of_its_library() {
        for (file, version) in [
            ("/opt/rocm-6.4.1/lib/libamdhip64.so.6.4.60401", Some(Version(6, 4, 1))),
            ("/nix/store/0abc-rocm-6.4.1/lib/libamdhip64.so.6.4.60401", Some(Version(6, 4, 1))),
            ("/nix/store/0abc-clr-7.2.3/lib/libamdhip64.so.7.2.0", Some(Version(7, 2, 3))),
            ("/usr/lib/x86_64-linux-gnu/libamdhip64.so.5.7.31921", Some(Version(5, 7, 0))),
            ("/usr/lib/libamdhip64.so", None),
        ] {
            assert_eq!(hip_version(file), version, "{file}");
        }
    }
}
