// What each kernel lacked, and how to give it that.

/**
 * What an era of kernels lacked, and was mended later: its own races are not what random schedules
 * look for (the canaries do). The forks of `gpc-v1` and `gpc-v4` began at v6.13.
 */
const mendedLater: readonly (readonly [string, string, readonly string[]])[] = [
  ['apic-reload-retry', 'on', ['k4.15']],
  ['sync-pir-when-inhibited', 'on', ['k4.15', 'k5.8']],
  ['sn-clear-recompute-on', 'on', ['k4.15']],
  ['apicv-kick-before-reasons', 'on', ['k4.15', 'k5.8']],
  ['apicv-update-lock', 'on', ['k4.15', 'k5.8']],
  ['event-on-apicv-deactivate', 'on', ['k4.15', 'k5.8']],
  ['irr-pending-on-transition', 'true', ['k4.15', 'k5.8', 'k6.6']],
  ['eoi-pending-scan', 'on', ['k4.15', 'k5.8', 'k6.6']],
  // R50
  ['svi-on-activation', 'on', ['k4.15', 'k5.8', 'k6.6', 'k6.13', 'gpc-v1', 'gpc-v4']],
  // R51
  ['apicv-refresh-on-exit', 'immediate', ['k4.15', 'k5.8', 'k6.6', 'k6.13', 'gpc-v1', 'gpc-v4']],
  ['empty-pir-scans-irr', 'on', ['k6.13', 'gpc-v1', 'gpc-v4']],
];

/** The guards of later kernels that close the races which a profile has open. */
export const protectionsOf = (profile: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    mendedLater.filter(([, , lack]) => lack.includes(profile)).map(([id, value]) => [id, value]),
  );
