# What tests/systemd runs: arguments of nix/modules/unit.nix, beside the NixOS configuration that
# stands for them. tests/nix compares the unit of the one with the module's for the other.
{ program }:
let
  settings = builtins.fromTOML (builtins.readFile ./settings.toml);
  drainSec = settings.limits.drain_timeout;
  configFile = "/etc/strixhalo/settings.toml";
  apiKeyFile = "/etc/strixhalo/api-keys";
  modelsDirectory = "/srv/models";
  listenStreams = [ "127.0.0.1:8091" ];
  ipAddressAllow = [ "localhost" ];
in
{
  # The appliance: it may open the GPU, clients need a key.
  appliance = {
    arguments = {
      inherit
        program
        configFile
        apiKeyFile
        modelsDirectory
        listenStreams
        ipAddressAllow
        drainSec
        ;
      environment = {
        ROCBLAS_USE_HIPBLASLT = "1";
        GPU_MAX_HW_QUEUES = "2";
      };
    };
    configuration = {
      hardware.strixhalo.rocm.profile = "gfx1151-native";
      services.strixhalo = {
        inherit apiKeyFile settings;
        demoModel = true;
      };
    };
  };

  # A server without a GPU, which opens its port by itself.
  cpu = {
    arguments = {
      inherit
        program
        configFile
        modelsDirectory
        ipAddressAllow
        drainSec
        ;
      devices = [ ];
      memoryMax = "8G";
    };
    configuration = {
      hardware.strixhalo.enable = false;
      services.strixhalo = {
        settings = settings // {
          model.gpu = "off";
        };
        demoModel = true;
        socket.enable = false;
        memoryMax = "8G";
      };
    };
  };
}
