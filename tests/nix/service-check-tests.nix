# What services.strixhalo refuses and what it warns of. Each test is { expected; actual; }.
{ lib }:
let
  inherit (import ./cases.nix { inherit lib; })
    inStore
    nixos
    refused
    warned
    with_
    ;
  inherit (nixos) failures;
  # A model beside the one that chats, whose path has no directory to be relative to.
  relativeWithoutDirectory = section: {
    services.strixhalo = {
      models = null;
      settings.model.path = lib.mkForce "/data/model.gguf";
      settings.${section}.path = "bge.gguf";
    };
  };
in
{
  "a service without a model is refused" =
    refused { services.strixhalo.settings.model.path = lib.mkForce null; }
      [
        "services.strixhalo.settings.model.path"
        "services.strixhalo.demoModel"
      ];
  "the demo model can be asked for" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo = {
        demoModel = true;
        settings.model.path = lib.mkForce null;
      };
    });
  };
  "the demo model beside another is refused" = refused { services.strixhalo.demoModel = true; } [
    "services.strixhalo.demoModel"
    "remove one"
  ];
  "a model in the store is refused" =
    refused { services.strixhalo.settings.model.path = lib.mkForce (inStore "model.gguf"); }
      [
        "services.strixhalo.settings.model.path"
        "store"
        "/srv/models"
      ];
  "prompts where the service cannot write are refused" =
    refused { services.strixhalo.settings.cache.disk_dir = "/home/alice/prompts"; }
      [
        "services.strixhalo.settings.cache.disk_dir (/home/alice/prompts)"
        "/var/cache/strixhalo/prompts"
      ];
  "a bound of host memory is refused where the whole model is host memory" =
    refused { services.strixhalo.memoryMax = "24G"; }
      [
        "services.strixhalo.memoryMax (24G)"
        "GGML_CUDA_ENABLE_UNIFIED_MEMORY"
        "hardware.strixhalo.rocm.unifiedMemory = false"
      ];
  "it is accepted without unified memory, and for a server that does not read the variable" = {
    expected = [ ];
    actual = lib.concatMap (configuration: failures (with_ configuration)) [
      {
        services.strixhalo.memoryMax = "24G";
        hardware.strixhalo.rocm.unifiedMemory = false;
      }
      {
        services.strixhalo.memoryMax = "24G";
        services.strixhalo.package = nixos.packages.strixhalo-cpu;
      }
    ];
  };
  "a models directory in the store is refused" =
    refused { services.strixhalo.models = inStore "models"; }
      [
        "services.strixhalo.models"
        "store"
      ];
  "a models directory in a home is refused" =
    refused { services.strixhalo.models = "/home/alice/models"; }
      [
        "services.strixhalo.models"
        "home"
        "/srv/models"
      ];
  "a models_dir in the store is refused" =
    refused
      {
        services.strixhalo = {
          models = null;
          settings.model.models_dir = inStore "models";
        };
      }
      [
        "services.strixhalo.settings.model.models_dir"
        "store"
        "services.strixhalo.models"
      ];
  "a models_dir in a home is refused" =
    refused
      {
        services.strixhalo = {
          models = null;
          settings.model.models_dir = "/home/alice/models";
        };
      }
      [
        "services.strixhalo.settings.model.models_dir"
        "home"
      ];
  "a models_dir that contradicts the models directory is refused" =
    refused { services.strixhalo.settings.model.models_dir = "/data/models"; }
      [
        "services.strixhalo.settings.model.models_dir (/data/models)"
        "services.strixhalo.models (/srv/models)"
        "remove"
      ];
  "one that says the same, or stands alone, is accepted" = {
    expected = [ ];
    actual =
      failures (with_ {
        services.strixhalo.settings.model.models_dir = "/srv/models/";
      })
      ++ failures (with_ {
        services.strixhalo = {
          models = null;
          settings.model.models_dir = "/data/models";
        };
      });
  };
  "a relative model without a directory to look in is refused" =
    refused { services.strixhalo.models = null; }
      [
        "services.strixhalo.settings.model.path (model.gguf)"
        "services.strixhalo.models"
        "absolute"
      ];
  "an absolute one needs no directory" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo = {
        models = null;
        settings.model.path = lib.mkForce "/data/model.gguf";
      };
    });
  };
  "so it is with the models beside it" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo = {
        models = null;
        settings.model.path = lib.mkForce "/data/model.gguf";
        settings.embedding_model.path = "/data/embedding.gguf";
        settings.rerank_model.path = "/data/reranker.gguf";
      };
    });
  };
  "relative ones are looked up where the model is" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo.settings = {
        embedding_model.path = "embedding.gguf";
        rerank_model.path = "reranker.gguf";
      };
    });
  };
  "an embedding model in the store is refused" =
    refused { services.strixhalo.settings.embedding_model.path = inStore "bge.gguf"; }
      [
        "services.strixhalo.settings.embedding_model.path"
        "store"
        "/srv/models"
      ];
  "a reranker in the store is refused" =
    refused { services.strixhalo.settings.rerank_model.path = inStore "bge.gguf"; }
      [
        "services.strixhalo.settings.rerank_model.path"
        "store"
      ];
  "a relative embedding model without a directory to look in is refused" =
    refused (relativeWithoutDirectory "embedding_model")
      [
        "services.strixhalo.settings.embedding_model.path (bge.gguf)"
        "services.strixhalo.models"
        "absolute"
      ];
  "a relative reranker without one is refused" =
    refused (relativeWithoutDirectory "rerank_model")
      [
        "services.strixhalo.settings.rerank_model.path (bge.gguf)"
        "absolute"
      ];
  "models beside it in a home are refused" =
    refused
      {
        services.strixhalo.settings.embedding_model.path = "/home/alice/bge.gguf";
      }
      [
        "services.strixhalo.settings.embedding_model.path"
        "home"
      ];
  "a reranker in a home is refused" =
    refused { services.strixhalo.settings.rerank_model.path = "/root/bge.gguf"; }
      [
        "services.strixhalo.settings.rerank_model.path"
        "home"
      ];
  "keys in the environment are refused" =
    refused
      {
        services.strixhalo.environment = {
          LLAMA_API_KEY = "k";
          STRIXHALO_SERVER__API_KEYS = "k";
          HF_TOKEN = "t";
        };
      }
      [
        "services.strixhalo.environment has HF_TOKEN, LLAMA_API_KEY, STRIXHALO_SERVER__API_KEYS"
        "everyone can read"
        "services.strixhalo.apiKeyFile"
        "services.strixhalo.environmentFile"
      ];
  "so is a key file that the service would read itself" =
    refused { services.strixhalo.environment.STRIXHALO_SERVER__API_KEY_FILE = "/etc/keys"; }
      [
        "services.strixhalo.environment"
        "services.strixhalo.apiKeyFile"
      ];
  "so are keys among the variables of the GPU" = refused {
    hardware.strixhalo.rocm.environment.LLAMA_API_KEY = "k";
  } [ "LLAMA_API_KEY" ];
  "a variable that only counts tokens, and one that is removed, are no keys" = {
    expected = [ ];
    actual = failures (with_ {
      services.strixhalo.environment = {
        SOME_MAX_TOKENS = "100";
        LLAMA_API_KEY = null;
      };
    });
  };
  "settings among the variables would pass by the firewall and the checks, and are refused" =
    refused
      {
        services.strixhalo.environment = {
          LLAMA_ARG_HOST = "0.0.0.0";
          STRIXHALO_SERVER__PORT = "80";
          GGML_CUDA_ENABLE_UNIFIED_MEMORY = "1";
        };
      }
      [
        "services.strixhalo.environment has LLAMA_ARG_HOST, STRIXHALO_SERVER__PORT, which"
        "services.strixhalo.settings.server.port"
      ];
  "a key file in the store is refused" = refused { services.strixhalo.apiKeyFile = inStore "keys"; } [
    "services.strixhalo.apiKeyFile"
    "everyone can read"
    "/etc/strixhalo/api-keys"
  ];
  "an environment file in the store is refused" =
    refused { services.strixhalo.environmentFile = inStore "env"; }
      [
        "services.strixhalo.environmentFile"
        "everyone can read"
      ];
  "keys in the settings are refused" =
    refused { services.strixhalo.settings.server.api_keys = [ "k" ]; }
      [
        "services.strixhalo.settings.server.api_keys"
        "services.strixhalo.apiKeyFile"
      ];
  "a key file in the settings is refused" =
    refused { services.strixhalo.settings.server.api_key_file = "/etc/keys"; }
      [
        "services.strixhalo.settings.server.api_key_file"
        "services.strixhalo.apiKeyFile"
      ];
  "a socket on any free port is refused" = refused { services.strixhalo.settings.server.port = 0; } [
    "services.strixhalo.settings.server.port"
    "services.strixhalo.socket.enable"
  ];
  "a socket on a host name is refused" =
    refused { services.strixhalo.settings.server.host = [ "box.lan" ]; }
      [
        "services.strixhalo.settings.server.host"
        "services.strixhalo.socket.enable"
      ];
  "an open firewall without keys is a warning" =
    warned
      {
        services.strixhalo = {
          openFirewall = true;
          settings.server.host = [ "0.0.0.0" ];
        };
      }
      [
        "services.strixhalo.apiKeyFile"
        "services.strixhalo.firewallInterfaces"
      ];
  "so is no firewall at all" = warned {
    networking.firewall.enable = false;
    services.strixhalo.settings.server.host = [ "::" ];
  } [ "services.strixhalo.apiKeyFile" ];
  "so is the port among the firewall's own" =
    warned
      {
        networking.firewall.allowedTCPPorts = [ 8091 ];
        services.strixhalo.settings.server.host = [ "0.0.0.0" ];
      }
      [
        "networking.firewall.allowedTCPPorts"
        "services.strixhalo.apiKeyFile"
      ];
  "so is a range that holds it" =
    warned
      {
        networking.firewall.allowedTCPPortRanges = [
          {
            from = 8000;
            to = 9000;
          }
        ];
        services.strixhalo.settings.server.host = [ "0.0.0.0" ];
      }
      [
        "networking.firewall.allowedTCPPortRanges"
        "services.strixhalo.apiKeyFile"
      ];
  "so is a file of variables, which may or may not hold keys" =
    warned
      {
        services.strixhalo = {
          openFirewall = true;
          environmentFile = "/etc/strixhalo/environment";
          settings.server.host = [ "0.0.0.0" ];
        };
      }
      [
        "services.strixhalo.openFirewall"
        "services.strixhalo.environmentFile"
        "write them to a file, one on a line, and name it in services.strixhalo.apiKeyFile"
      ];
  "so is an interface that nobody called trusted" =
    warned
      {
        networking.firewall.trustedInterfaces = [ "enp1s0" ];
        services.strixhalo = {
          firewallInterfaces = [
            "enp1s0"
            "wlan0"
          ];
          settings.server.host = [ "0.0.0.0" ];
        };
      }
      [
        "wlan0 (services.strixhalo.firewallInterfaces"
        "services.strixhalo.apiKeyFile"
        "networking.firewall.trustedInterfaces"
      ];
  "so is one that the firewall itself opens" =
    warned
      {
        networking.firewall.interfaces.wlan0.allowedTCPPorts = [ 8091 ];
        services.strixhalo.settings.server.host = [ "0.0.0.0" ];
      }
      [
        "wlan0"
        "networking.firewall.interfaces"
      ];
  "with keys, for trusted interfaces, or for other ports it is none" = {
    expected = [ ];
    actual =
      lib.concatMap
        (
          configuration:
          (with_ {
            imports = [ configuration ];
            services.strixhalo.settings.server.host = [ "0.0.0.0" ];
          }).warnings
        )
        [
          {
            services.strixhalo.openFirewall = true;
            services.strixhalo.apiKeyFile = "/etc/strixhalo/api-keys";
          }
          {
            services.strixhalo.firewallInterfaces = [ "enp1s0" ];
            services.strixhalo.apiKeyFile = "/etc/strixhalo/api-keys";
          }
          {
            services.strixhalo.firewallInterfaces = [ "enp1s0" ];
            services.strixhalo.environmentFile = "/etc/strixhalo/environment";
          }
          {
            services.strixhalo.firewallInterfaces = [ "enp1s0" ];
            networking.firewall.trustedInterfaces = [ "enp1s0" ];
          }
          {
            networking.firewall.allowedTCPPorts = [ 22 ];
            networking.firewall.interfaces.wlan0.allowedTCPPorts = [ 443 ];
          }
        ];
  };
  "an open firewall before a server on loopback is a warning" =
    warned { services.strixhalo.openFirewall = true; }
      [
        "services.strixhalo.openFirewall"
        "services.strixhalo.settings.server.host"
      ];
}
