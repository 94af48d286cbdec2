// Sets the switches inside the Electron program given as argument; runs under the project's own Node.

import { FuseV1Options, FuseVersion, flipFuses } from '@electron/fuses';

await flipFuses(process.argv[2], {
  version: FuseVersion.V1,
  // Tests attach with --inspect.
  [FuseV1Options.EnableNodeCliInspectArguments]: true,
  // The snapshot this names belongs to another application and is not unpacked.
  [FuseV1Options.LoadBrowserProcessSpecificV8Snapshot]: false,
});
