# What the GPU may map of the system's memory, and the kernel parameters that say so. Only builtins
# are used, so that tests/systemd can boot a kernel with them.
{
  installedGiB ? 128,
  gttGiB ? null,
  pagesLimit ? null,
  pagePoolSize ? null,
}:
let
  # A page is 4096 bytes.
  pagesPerGiB = 262144;
  # The set-up that this replaces had 30,720,000 for 128 GB and 14,848,000 for 64 GB: 256,000 pages
  # for each GB but 8 (but 6 of 64). 96 GB follows the same rule.
  defaultPages = {
    "64" = 14848000;
    "96" = 23040000;
    "128" = 30720000;
  };
in
rec {
  inherit pagesPerGiB;
  pages =
    if pagesLimit != null then
      pagesLimit
    else if gttGiB != null then
      builtins.floor (gttGiB * pagesPerGiB)
    else
      defaultPages.${toString installedGiB};
  poolPages = if pagePoolSize != null then pagePoolSize else pages;
  kernelParams = [
    "ttm.pages_limit=${toString pages}"
    "ttm.page_pool_size=${toString poolPages}"
  ];
}
