# A machine whose root is a btrfs subvolume and whose persist tree is another one.
{
  services.state = {
    enable = true;
    package.outPath = "/nix/store/00000000000000000000000000000000-state"; # inputs.state.packages.…
    root = {
      backend = "btrfs";
      device = "/dev/disk/by-uuid/0a5f-d00d";
      subvolume = "root";
      pastRoots = {
        last = 5;
        days = 30;
      };
    };
    persistence."/persist" = {
      hideMounts = true;
      directories = [
        {
          path = "/var/lib/nixos";
          early = true;
        }
        {
          path = "/var/lib/colord";
          user = "colord";
          group = "colord";
          mode = "0750";
        }
      ];
      files = [
        "/etc/machine-id"
        {
          path = "/etc/ssh/ssh_host_ed25519_key";
          early = true;
          mode = "0600";
          ifMissing = "skip";
        }
      ];
      users.lantian = {
        directories = [
          "Documents"
          {
            path = ".ssh";
            mode = "0700";
          }
        ];
        files = [ ".screenrc" ];
      };
    };
    settings = {
      diff.ignore = [ "/var/tmp/**" ];
      target.usb.url = "file:///mnt/usb/state";
    };
  };
  boot.initrd.systemd.enable = true;
  fileSystems."/persist".neededForBoot = true;
}
