{
  description = "An LLM appliance for AMD Ryzen AI MAX+ 395 (Strix Halo): server, NixOS modules, example host";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    # Only for Linux 6.17, which ROCm 6.4 needs and which left nixpkgs in January 2026.
    nixpkgs-linux-6_17.url = "github:NixOS/nixpkgs/f61125a668a320878494449750330ca58b78c557";
  };

  outputs =
    {
      self,
      nixpkgs,
      nixpkgs-linux-6_17,
    }:
    let
      # The machine is an x86-64, and AMD builds ROCm for nothing else.
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};
      modules = import ./nix/modules {
        packagesFor = name: self.packages.${name};
        linux617For =
          name: import ./nix/linux-6_17.nix nixpkgs-linux-6_17.legacyPackages.${name}.linuxPackages_6_17;
      };
    in
    {
      packages.${system} = import ./nix/packages { inherit pkgs; } // {
        iso = import ./nix/iso.nix { inherit nixpkgs self system; };
      };
      apps.${system} = import ./nix/apps.nix { inherit pkgs self; };
      checks.${system} = import ./nix/checks.nix { inherit pkgs self; };
      devShells.${system}.default = pkgs.callPackage ./nix/shell.nix { };
      formatter.${system} = pkgs.nixfmt-tree;
      overlays.default = final: _prev: import ./nix/overlay.nix { pkgs = final; };
      nixosModules = modules;
      nixosConfigurations.strixhalo = nixpkgs.lib.nixosSystem {
        modules = [
          self.nixosModules.default
          ./hosts/strixhalo
        ];
      };
    };
}
