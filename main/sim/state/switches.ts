/**
 * Protections of the kernel that can be turned off, and the profiles that preset them.
 * Toggles, completion, help, documents and tests all come from this table.
 */

import { type Era, eras } from './eras.ts';
import { onOff, type Switch, type SwitchValue } from './switch.ts';
import { nestedSwitches } from './switches/nested.ts';
import { pageSwitches } from './switches/pages.ts';

export type { Switch, SwitchValue } from './switch.ts';

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
    id: 'kick-mode-cmpxchg',
    values: onOff,
    since: 'always',
    races: ['R10'],
    summary:
      'whoever kicks a vCPU changes its mode only from IN_GUEST_MODE; off, EXITING_GUEST_MODE is stored whatever the mode is',
  },
  {
    id: 'mode-store-mb',
    values: onOff,
    since: 'always',
    races: ['R11', 'R18', 'R20'],
    summary:
      'a full barrier behind mode = IN_GUEST_MODE; off, the store stays in the store buffer of the CPU while requests and PID.ON are read, up to a locked instruction or the VM entry',
  },
  {
    id: 'outside-store-wmb',
    values: onOff,
    since: 'long-standing',
    races: ['R16'],
    summary:
      'mode = OUTSIDE_GUEST_MODE is stored before the exit path goes on; off, behind the return of interrupts, which STI forbids on x86 in any case',
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
    id: 'req-wait-covers-reading',
    values: onOff,
    since:
      'READING_SHADOW_PAGE_TABLES (2012), of every request; of those with WAIT since the v4.12 era (unverified)',
    races: ['R17'],
    summary:
      'who makes a request and waits does so for a vCPU that reads shadow page tables without a lock, too; off, only for one in the guest',
  },
  {
    id: 'noslot-apic-in-l2',
    values: onOff,
    since: 'always in the trees read',
    races: ['R06'],
    summary: 'an access of L2 to the private slot is emulated; off, its page is mapped into EPT02',
  },
  {
    id: 'slot-invalid-test',
    values: onOff,
    since: '878940b33d76 form of the reload',
    races: ['R07'],
    summary: 'the reload returns early when the private memslot is missing or marked INVALID',
  },
  {
    id: 'pir-sync-after-mode',
    values: onOff,
    since: 'v4.x; unconditional on APICv status since 37c4dbf337c5',
    races: ['R20'],
    summary: 'vcpu_enter_guest harvests PIR after mode = IN_GUEST_MODE; off, before it',
  },
  {
    id: 'sync-pir-when-inhibited',
    values: onOff,
    since: '7e1901f6c86c and 37c4dbf337c5, v5.16',
    races: ['R24', 'R52'],
    summary: 'PIR is harvested before entry also when APICv is inhibited',
  },
  {
    id: 'fastpath-recheck',
    values: onOff,
    since: 'with fast-path exits (v5.8 era, unverified)',
    races: ['R13'],
    summary: 'a fast-path re-entry harvests PIR and looks at the requests again',
  },
  {
    id: 'fastpath-exits',
    values: ['msr-hlt', 'msr', 'none'],
    since: 'msr v5.8 era (unverified); msr-hlt 1876dd69dfe8 (v6.12)',
    races: ['R13'],
    summary:
      'which exits are handled with interrupts off before the guest goes on at once: WRMSR of the ICR and of the TSC deadline, and HLT',
  },
  {
    id: 'pir-before-on',
    values: onOff,
    since: 'always',
    races: ['R21'],
    summary: 'a sender sets the vector in PIR before it sets ON',
  },
  {
    id: 'on-before-ipi',
    values: onOff,
    since: 'always',
    races: ['R22'],
    summary: 'a sender sets ON before it sends the notification',
  },
  {
    id: 'clear-on-before-harvest',
    values: onOff,
    since: 'always',
    races: ['R23'],
    summary: 'ON is cleared before PIR is harvested',
  },
  {
    id: 'empty-pir-scans-irr',
    values: onOff,
    since: 'lost in v6.16 with pi_harvest_pir, mended in May 2026',
    races: [],
    summary:
      'ON with an empty PIR still gives the highest vector of IRR; off, it gives none, and RVI is written with 0',
  },
  {
    id: 'pi-control-cmpxchg',
    values: onOff,
    since: 'always',
    races: ['R27'],
    summary: 'NV, NDST and SN are changed with cmpxchg, so that ON set meanwhile survives',
  },
  {
    id: 'sn-clear-recompute-on',
    values: onOff,
    since: 'c112b5f50232, v5.0/5.1',
    races: ['R25'],
    summary: 'loading a vCPU sets ON if PIR is not empty after SN was cleared',
  },
  {
    id: 'pi-load-without-device',
    values: onOff,
    since: '31afb2ea2b10, v4.14',
    races: ['R25'],
    summary:
      'vmx_vcpu_pi_load keeps NDST and SN right while no device is assigned; off, it returns at once',
  },
  {
    id: 'wakeup-selfipi',
    values: onOff,
    since: 'the rework of the wake-up vector',
    races: ['R26'],
    summary: 'going to sleep with ON set sends the wake-up vector to itself',
  },
  {
    id: 'wakeup-list-prev-cpu-lock',
    values: onOff,
    since: 'the per-CPU wake-up list',
    races: ['R28'],
    summary: 'a vCPU leaves the wake-up list of its previous CPU under the lock of that CPU',
  },
  {
    id: 'unblock-on-pi-assignment',
    values: onOff,
    since: 'long-standing (version unverified)',
    races: ['R29'],
    summary:
      'assigning the first device wakes all blocked vCPUs, so that they arm the wake-up vector',
  },
  ...nestedSwitches,
  {
    id: 'apicv-zap-on-inhibit',
    values: onOff,
    since: 'v5.15-era rework (version unverified)',
    races: ['R08'],
    summary: 'inhibiting APICv zaps the mapping of the APIC-access page',
  },
  {
    id: 'mode-switch-flush',
    values: onOff,
    since: 'always',
    races: ['R09'],
    summary: 'switching the APIC mode flushes what was cached without APIC-access treatment',
  },
  {
    id: 'irq-off-before-mode',
    values: onOff,
    since: 'v5.x (unverified)',
    races: ['R12'],
    summary: 'interrupts are off before mode = IN_GUEST_MODE',
  },
  {
    id: 'kick-skip-running-self',
    values: onOff,
    since: 'long-standing (version unverified)',
    races: ['R14'],
    summary: 'a kick of the vCPU that runs on this CPU writes EXITING and sends no IPI',
  },
  {
    id: 'apicv-kick-before-reasons',
    values: onOff,
    since: 'b0a1637f64b0, v5.15',
    races: ['R46'],
    summary: 'a change of the inhibit reasons makes every vCPU leave the guest first',
  },
  {
    id: 'apicv-update-lock',
    values: onOff,
    since: 'b0a1637f64b0, v5.15',
    races: ['R46'],
    summary: 'changes of the inhibit reasons and vCPUs that follow them exclude each other',
  },
  {
    id: 'event-on-apicv-deactivate',
    values: onOff,
    since: 'bca66dbcd28a, v5.14',
    races: ['R49'],
    summary: 'turning APICv off makes EVENT: an interrupt may have been accepted without it',
  },
  {
    id: 'svi-on-activation',
    values: onOff,
    since: 'b2849bec936b, v6.19',
    races: ['R50'],
    summary: 'turning APICv on writes SVI from ISR',
  },
  {
    id: 'irr-pending-on-transition',
    values: ['true', 'untouched', 'scan'],
    since: 'scan b26a695a1d78; untouched 755c2bf87860; true d3ddef46f22e (v6.13)',
    races: ['R47'],
    summary:
      'what kvm_apic_update_apicv does to irr_pending when APICv is off: sets it, leaves it, or scans IRR',
  },
  {
    id: 'irr-bit-before-pending',
    values: onOff,
    since: 'v3.x (unverified)',
    races: ['R48'],
    summary: 'a sender sets the IRR bit before irr_pending',
  },
  {
    id: 'irr-pending-clear-then-rescan',
    values: onOff,
    since: 'v3.x (unverified)',
    races: ['R48'],
    summary: 'taking a vector out of IRR clears irr_pending first and scans IRR last',
  },
  {
    id: 'sipi-vector-barrier',
    values: onOff,
    since: 'v3.x (unverified)',
    races: ['R55'],
    summary: 'the vector of a SIPI is stored before its bit, and read after it',
  },
  {
    id: 'init-overwrites-pending',
    values: onOff,
    since: 'long-standing',
    races: ['R56'],
    summary: 'INIT drops a SIPI that was not accepted yet',
  },
  {
    id: 'apic-map-dirty-protocol',
    values: onOff,
    since: 'v5.9 (unverified)',
    races: ['R59'],
    summary: 'a change made during the calculation of the destination map leaves it DIRTY',
  },
  {
    id: 'apic-map-maxid-monotonic',
    values: onOff,
    since: '41e90a69a49b, v6.6: with the retry itself',
    races: ['R60'],
    summary: 'the size of the destination map only grows over the retries of its calculation',
  },
  {
    id: 'eoi-pending-scan',
    values: ['on', 'kernel', 'off'],
    since: 'kernel 0fc5a36dd6b3 (v4.15); on fceb3a36c29a (v6.3)',
    races: ['R62'],
    summary:
      'a vector that is pending keeps its EOI exit when its route moves away: whoever has the IOAPIC, only if KVM has it, or never',
  },
  {
    id: 'eoi-stale-tracking',
    values: onOff,
    since: 'v6.15',
    races: [],
    summary:
      'the EOI of a vector whose route has moved away makes the routes be scanned again, so that later EOIs of it need not exit',
  },
  {
    id: 'timer-pending-guard',
    values: onOff,
    since: 'long-standing',
    races: ['R65'],
    summary: 'an expiry is dropped while another is pending',
  },
  {
    id: 'pir-drop-on-restore',
    values: onOff,
    since: '967235d32032, behind the copy of the registers; 9cfec6d097c6 (v6.7), before it',
    races: ['R66'],
    summary: 'KVM_SET_LAPIC and INIT drop what was posted before',
  },
  {
    id: 'memslot-update-waits-mn',
    values: onOff,
    since: '52ac8b358b0c, v5.15',
    races: ['R67'],
    summary: 'memslots are published only while no invalidation is active',
  },
  ...pageSwitches,
  {
    id: 'nested-nv-redeliver',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R38'],
    summary: 'a notification that came too late for L2 is given to L1 as an interrupt',
  },
  {
    id: 'migrate-pi-pending',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R39'],
    summary:
      'restoring an L2 with posted interrupts looks into its descriptor, as a notification would',
  },
  {
    id: 'get-pages-before-block',
    values: ['off', 'on'],
    since: 'hypothetical: posted in August 2022, not merged',
    races: [],
    summary:
      'a vCPU that is about to sleep in its L2 handles GET_NESTED_STATE_PAGES first; off, a restored L2 that is halted has no pages in which KVM could find its interrupts',
  },
  {
    id: 'ioapic-scan-before-service',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: [],
    summary:
      'a write to an entry of the IOAPIC makes SCAN_IOAPIC before it sends what waits at the pin; off, the vCPU may take it and EOI it before its EOIs exit',
  },
  {
    id: 'extint-peek-first',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R68'],
    summary: 'an ExtINT that has to wait is not taken from the PIC or from user space',
  },
  {
    id: 'gpc-unlock-before-refresh',
    values: ['off', 'on'],
    since: 'hypothetical',
    races: ['R79'],
    summary:
      'the cache of the descriptor is unlocked before that of the virtual-APIC page is refreshed',
  },
] as const satisfies readonly Switch[];

export type SwitchId = (typeof switches)[number]['id'];

export interface Profile {
  readonly id: string;
  readonly summary: string;
  readonly switches: Readonly<Record<SwitchId, SwitchValue>>;
}

const usual = Object.fromEntries(switches.map(({ id, values }) => [id, values[0]])) as Record<
  SwitchId,
  SwitchValue
>;

type Settings = Readonly<Record<SwitchId, SwitchValue>>;

/** The switches of an era: those of the era that it changes, and its changes. */
const switchesOf = (era: Era): Settings => {
  const before = eras[eras.indexOf(era) - 1];
  const base = era.base === undefined ? before : eras.find(({ id }) => id === era.base);
  return { ...(base === undefined ? usual : switchesOf(base)), ...era.changes };
};

export const profiles: readonly Profile[] = eras.map((era) => ({
  id: era.id,
  summary: era.summary,
  switches: switchesOf(era),
}));

export const defaultProfile = 'k7.0';

export const switchOf = (id: string): Switch | undefined => switches.find((s) => s.id === id);
export const profileOf = (id: string): Profile | undefined => profiles.find((p) => p.id === id);
