/**
 * Protections of the kernel that can be turned off, and the profiles that preset them.
 * Toggles, completion, help, documents and tests all come from this table.
 */

export type SwitchValue = string;

export interface Switch {
  readonly id: string;
  /** allowed values, the usual one first; a boolean has 'on' and 'off' */
  readonly values: readonly SwitchValue[];
  readonly since: string;
  readonly races: readonly string[];
  readonly summary: string;
}

const onOff = ['on', 'off'] as const;

export const switches = [
  {
    id: 'apic-reload-hook',
    values: ['standard', 'invalidate_range', 'range_start'],
    since:
      'range_start b1394e745b94 (~v4.15); invalidate_range e649b3f0188f (v5.8); standard 0a8a5f2c8c26 (v6.6)',
    races: ['R01'],
    summary:
      'where the MMU notifier asks every vCPU to reload the APIC-access page: at range_start after mmu_lock was dropped, from the secondary ->invalidate_range hook once the primary PTE is gone, or inside the ordinary unmap under mmu_lock',
  },
  {
    id: 'apic-reload-retry',
    values: onOff,
    since: '878940b33d76, v6.6',
    races: ['R01'],
    summary:
      'vmx_set_apic_access_page_addr samples mmu_invalidate_seq before the pfn look-up and, under mmu_lock, asks again instead of writing the VMCS while an invalidation covers the page',
  },
  {
    id: 'reload-flush-current',
    values: ['off', 'on'],
    since: 'added fb6c81984313, removed 775bc098657b (v6.6)',
    races: ['R04'],
    summary:
      'vmx_set_apic_access_page_addr flushes the current EP4TA after writing the VMCS: redundant where every zap flushes all roots',
  },
  {
    id: 'zap-flush-all-roots',
    values: onOff,
    since: 'always',
    races: ['R03', 'R04'],
    summary: 'a zap makes every vCPU flush all of its EP4TAs; off, only the current one',
  },
  {
    id: 'final-request-check',
    values: onOff,
    since: 'always',
    races: ['R10', 'R76'],
    summary: 'vcpu_enter_guest looks at requests and mode once more after mode = IN_GUEST_MODE',
  },
  {
    id: 'req-clear-before-handle',
    values: onOff,
    since: 'always',
    races: ['R02', 'R15'],
    summary:
      'kvm_check_request clears the bit before the handler runs, so that a request made meanwhile survives',
  },
  {
    id: 'slot-invalid-test',
    values: onOff,
    since: '878940b33d76 form of the reload',
    races: ['R07'],
    summary: 'the reload returns early when the private memslot is missing or marked INVALID',
  },
] as const satisfies readonly Switch[];

export type SwitchId = (typeof switches)[number]['id'];

export interface Profile {
  readonly id: string;
  readonly summary: string;
  readonly switches: Readonly<Record<SwitchId, SwitchValue>>;
}

const always = {
  'zap-flush-all-roots': 'on',
  'final-request-check': 'on',
  'req-clear-before-handle': 'on',
} as const;

export const profiles: readonly Profile[] = [
  {
    id: 'k4.15',
    summary: 'v4.15 to v5.7: reload requested from invalidate_range_start, no retry check',
    switches: {
      ...always,
      'apic-reload-hook': 'range_start',
      'apic-reload-retry': 'off',
      'reload-flush-current': 'on',
      'slot-invalid-test': 'off',
    },
  },
  {
    id: 'k5.8',
    summary:
      'v5.8 to v6.5: reload requested from ->invalidate_range, after the primary PTE is gone',
    switches: {
      ...always,
      'apic-reload-hook': 'invalidate_range',
      'apic-reload-retry': 'off',
      'reload-flush-current': 'on',
      'slot-invalid-test': 'off',
    },
  },
  {
    id: 'k6.6',
    summary:
      'v6.6 to v6.12: reload from the standard hooks with a retry check, no flush of its own',
    switches: {
      ...always,
      'apic-reload-hook': 'standard',
      'apic-reload-retry': 'on',
      'reload-flush-current': 'off',
      'slot-invalid-test': 'on',
    },
  },
];

export const defaultProfile = 'k6.6';

export const switchOf = (id: string): Switch | undefined => switches.find((s) => s.id === id);
export const profileOf = (id: string): Profile | undefined => profiles.find((p) => p.id === id);
