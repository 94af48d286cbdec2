/** Which kernels have which protections. */
import type { SwitchValue } from './switch.ts';
import type { SwitchId } from './switches.ts';

/** What each era changes against the kernel before it; the first gives every switch its value. */
export interface Era {
  readonly id: string;
  readonly summary: string;
  /** the era that it changes, if not the one before it */
  readonly base?: string;
  readonly changes: Partial<Readonly<Record<SwitchId, SwitchValue>>>;
}

export const eras: readonly Era[] = [
  {
    id: 'k4.15',
    summary: 'v4.15 to v5.7: reload requested from invalidate_range_start, no retry check',
    changes: {
      'apic-reload-hook': 'range_start',
      'apic-reload-retry': 'off',
      'reload-flush-current': 'on',
      'slot-invalid-test': 'off',
      'sync-pir-when-inhibited': 'off',
      'sn-clear-recompute-on': 'off',
      'fastpath-recheck': 'off',
      'fastpath-exits': 'none',
      'vmcs01-update-mode': 'no-threshold',
      'svi-l2-policy': 'write-loaded',
      'apicv-refresh-on-exit': 'request',
      'apicv-zap-on-inhibit': 'off',
      'apicv-kick-before-reasons': 'off',
      'apicv-update-lock': 'off',
      'event-on-apicv-deactivate': 'off',
      'svi-on-activation': 'off',
      'irr-pending-on-transition': 'scan',
      'apic-map-dirty-protocol': 'off',
      'apic-map-maxid-monotonic': 'off',
      'eoi-pending-scan': 'kernel',
      'eoi-stale-tracking': 'off',
      'memslot-update-waits-mn': 'off',
      'hostmap-pin': 'reference',
      allow_unsafe_mappings: 'on',
      'dirty-mapped-pages': 'off',
      'gpc-mn-count-check': 'off',
      'gpc-seq-check': 'off',
      'gpc-refresh-mutex': 'off',
      'gpc-active-after-list': 'off',
      'gpc-invalid-before-unlock': 'off',
      'nested-pi-mb': 'off',
      'nested-nv-invalidated': 'off',
      'nv-irq-morph': 'off',
      'nested-has-events': 'off',
      'block-ignore-ebusy': 'off',
    },
  },
  {
    id: 'k5.8',
    summary:
      'v5.8 to v6.5: reload requested from ->invalidate_range, after the primary PTE is gone',
    changes: {
      'apic-reload-hook': 'invalidate_range',
      'vmcs01-update-mode': 'defer',
      'sn-clear-recompute-on': 'on',
      'fastpath-recheck': 'on',
      'fastpath-exits': 'msr',
    },
  },
  {
    id: 'k6.6',
    summary:
      'v6.6 to v6.12: reload from the standard hooks with a retry check, no flush of its own',
    changes: {
      'apic-reload-hook': 'standard',
      'apic-reload-retry': 'on',
      'reload-flush-current': 'off',
      'slot-invalid-test': 'on',
      'irr-pending-on-transition': 'untouched',
      'memslot-update-waits-mn': 'on',
      'eoi-pending-scan': 'on',
      'apic-map-maxid-monotonic': 'on',
      'apic-map-dirty-protocol': 'on',
      'event-on-apicv-deactivate': 'on',
      'apicv-update-lock': 'on',
      'apicv-kick-before-reasons': 'on',
      'apicv-zap-on-inhibit': 'on',
      'sync-pir-when-inhibited': 'on',
      'gpc-mn-count-check': 'on',
      'gpc-seq-check': 'on',
      'gpc-refresh-mutex': 'on',
      'gpc-active-after-list': 'on',
      'gpc-invalid-before-unlock': 'on',
      'nested-pi-mb': 'on',
      'nv-irq-morph': 'at-entry',
    },
  },
  {
    id: 'k6.13',
    summary: 'v6.13 to v6.18: irr_pending set at every APICv transition, stale EOI routes tracked',
    changes: {
      'irr-pending-on-transition': 'true',
      'eoi-stale-tracking': 'on',
      'empty-pir-scans-irr': 'off',
      'fastpath-exits': 'msr-hlt',
      'svi-l2-policy': 'defer',
      'hostmap-pin': 'on',
      allow_unsafe_mappings: 'off',
      'nested-nv-invalidated': 'on',
      'nv-irq-morph': 'at-exit-injection',
      'nested-has-events': 'on',
    },
  },
  {
    id: 'k6.19',
    summary: 'v6.19: SVI written when APICv is activated',
    changes: {
      'empty-pir-scans-irr': 'on',
      'svi-on-activation': 'on',
      'apicv-refresh-on-exit': 'immediate',
    },
  },
  {
    id: 'k7.0',
    summary: 'kvm-x86 apic branch of January 2026: updates of vmcs01 are no longer deferred',
    changes: {
      'vmcs01-update-mode': 'on-demand',
      'svi-l2-policy': 'on-demand',
      'dirty-mapped-pages': 'on',
      'block-ignore-ebusy': 'on',
    },
  },
  {
    id: 'gpc-v1',
    base: 'k6.13',
    summary: 'k6.13 with the series of September 2025 (not merged): caches of the pages of L1',
    changes: { 'l1-pages': 'gpc' },
  },
  {
    id: 'gpc-v4',
    base: 'gpc-v1',
    summary: 'v4 of that series, January 2026 (not merged): the caches of each vmcs12 are kept',
    changes: { 'nested-context-table': 'on', 'evmcs-gpc': 'on' },
  },
];
