//! The bundle on a machine that is full of what it must not give away.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::host::doctor::examine;
use crate::host::doctor::mask::Mask;

fn mask() -> Mask {
    let mut mask = Mask::default();
    mask.add_host("gibson.example.lan");
    mask.add_user("alice");
    mask.add_user("Liddell");
    mask.add_key("correct-horse");
    mask
}

#[test]
fn names_addresses_and_keys_are_masked_wherever_they_stick() {
    let secrets = [
        "gibson",
        "GIBSON",
        "example.lan",
        "alice",
        "Alice",
        "Liddell",
        "10.11.12.13",
        "fe80::1c2d",
        "2001:db8",
        "aa:bb:cc",
        "AA-BB-CC",
        "001122334455",
        "correct-horse",
        "s3cr3t",
        "abcDEF123",
        "4f9c2a7e",
        "bob",
        "hunter2",
        "ssh-key-body",
    ];
    for hostile in [
        "gibson kernel: x",
        "on GIBSON.example.lan:",
        "host=gibson,user=alice",
        "/home/alice/models/m.gguf",
        "/home/bob/.cache/x",
        "Alice Liddell's machine",
        "bob@gibson and bob@192.168.1.7 and x@10.11.12.13",
        "uid=1000(alice)",
        "ip10.11.12.13 [10.11.12.13]:8091 10.11.12.13. IP 10.11.12.13.443 > ..10.11.12.13",
        "::ffff:10.11.12.13 and v4-10.11.12.13",
        "fe80::1c2d%eth0 [fe80::1c2d]:8091 addr=fe80::1c2d:8091 addrfe80::1c2d",
        "2001:db8:0:0:0:0:0:1 2001:db8::1. x_2001:db8::5:",
        "ether aa:bb:cc:dd:ee:ff, AA-BB-CC-DD-EE-FF enx001122334455: up",
        "key correct-horse; KEY=\"correct-horse\"",
        "Authorization: Bearer s3cr3t",
        "authorization: basic s3cr3t==",
        "x-api-key: s3cr3t",
        "HF_TOKEN=s3cr3t LLAMA_API_KEY='s3cr3t' password = \"s3cr3t\"",
        "{\"api_key\": \"s3cr3t\", \"secret\":\"s3cr3t\"}",
        "--api-key=s3cr3t --api-key s3cr3t",
        "sk-abcDEF123456 hf_abcDEF1234567890 using sk-proj-abcDEF123_456-789",
        "machine-id 4f9c2a7e1b3d5f60718293a4b5c6d7e8",
        "root=UUID=4f9c2a7e-1b3d-5f60-7182-93a4b5c6d7e8 rw",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIabcDEF123/x+y=",
        "cGFzcyt3b3JkabcDEF123+Zg==",
        "postgres://bob:hunter2@db.internal/x",
    ] {
        let masked = mask().apply(hostile);
        for secret in secrets {
            assert!(!masked.contains(secret), "{secret} of {hostile:?} is in {masked:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_address_survives_whatever_stands_around_it(
        before in "[ -~]{0,6}([^0-9a-fA-F:.])?",
        after in "([^0-9a-fA-F:.][ -~]{0,6})?",
        v4 in any::<u32>(),
        v6 in any::<u128>(),
        mac in any::<[u8; 6]>(),
    ) {
        let (v4, v6) = (Ipv4Addr::from(v4 | 0x0100_0000), Ipv6Addr::from(v6 | 0x2000 << 112 | 9));
        let mac = mac.map(|byte| format!("{byte:02x}"));
        for address in [v6.to_string(), mac.join(":"), mac.join("-").to_uppercase()] {
            let text = format!("{before} {address}{after}");
            let masked = mask().apply(&text);
            prop_assert!(!masked.contains(&address), "{text:?} gives {masked:?}");
        }
        if !v4.is_loopback() {
            let text = format!("{before}x{v4}{after}");
            let masked = mask().apply(&text);
            prop_assert!(!masked.contains(&v4.to_string()), "{text:?} gives {masked:?}");
        }
    }

    #[test]
    fn any_text_can_be_masked(text in "\\PC{0,80}") {
        mask().apply(&text);
    }
}

#[test]
fn what_helps_stays() {
    for line in [
        "amdgpu 0000:c5:00.0: amdgpu: 120000M of GTT memory ready.",
        "strixhalo::engine::load: loading 43 %, 37/85 GB",
        "2026-11-30T21:58:33 listening on http://127.0.0.1:8091 and [::1]:8091",
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-linux-firmware-20260110/lib",
        "model.path = \"/srv/models/Qwen3-Coder-Next-Q8_0-00001-of-00003.gguf\" (file)",
        "MES feature version: 1, firmware version: 0x00000083",
        "HSA_OVERRIDE_GFX_VERSION=11.0.0 amdgpu.cwsr_enable=0",
        "ROCm 6.4.1, Linux 6.17.0-14-generic, 2 slots of 262144 tokens, limits.max_tokens = 0",
        "[drm:amdgpu_mes_reg_write] MES failed to respond to msg=MISC (WAIT_REG_MEM)",
    ] {
        assert_eq!(mask().apply(line), line);
    }
}

#[test]
fn the_bundle_of_a_machine_gives_nobody_away() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/cpuinfo", "model name\t: AMD RYZEN AI MAX+ 395 w/ Radeon 8060S\n");
    write("proc/sys/kernel/hostname", "gibson\n");
    write("proc/sys/kernel/osrelease", "6.17.9\n");
    write("proc/version", "Linux version 6.17.9 (builder@gibson) #1 SMP");
    write("proc/cmdline", "ip=10.11.12.13::10.11.12.1:255.255.255.0:gibson quiet");
    write(
        "proc/self/environ",
        "USER=carol\0HSA_XNACK=1\0HF_TOKEN=s3cr3t\0STRIXHALO_SERVER__API_KEYS=s3cr3t-two",
    );
    write(
        "etc/passwd",
        "root:x:0:0::/root:/bin/sh\nalice:x:1000:100:Alice Liddell,Room 5:/home/alice:/bin/sh\n",
    );
    write("keys", "# office\ncorrect-horse\n");
    write(
        "etc/strixhalo/settings.toml",
        "[server]\nhost = [\"10.11.12.13\"]\napi_keys = [\"battery-staple\"]\n[model]\npath = \"/home/alice/m.gguf\"\n",
    );
    write(
        "recorded/kernel.log",
        "[    1.0] amdgpu 0000:c5:00.0: amdgpu: 64000M of GTT memory ready.\n[    2.0] amdgpu on gibson aa:bb:cc:dd:ee:ff\n",
    );
    write(
        "recorded/service.log",
        "request from 10.11.12.13 and fe80::1c2d:99 with Bearer battery-staple by alice\ncarol said s3cr3t-two\n",
    );
    let bundle = examine(root.path(), None).bundle("0.1.0");
    for secret in [
        "gibson",
        "alice",
        "Alice",
        "Liddell",
        "carol",
        "10.11.12",
        "fe80",
        "aa:bb",
        "s3cr3t",
        "battery-staple",
        "builder",
    ] {
        assert!(!bundle.contains(secret), "{secret} is in\n{bundle}");
    }
    for part in [
        "strixhalo 0.1.0",
        "0000:c5:00.0: amdgpu: 64000M of GTT memory ready",
        "HSA_XNACK=1",
        "server.host",
        "## report",
        "<host>",
        "<user>",
        "<address>",
        "<key>",
    ] {
        assert!(bundle.contains(part), "{part} is not in\n{bundle}");
    }
}
