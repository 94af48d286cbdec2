/** Switches of running L2: what of L1 changes meanwhile, its notifications, entries and exits. */
import { onOff, type Switch } from '../switch.ts';

export const nestedSwitches = [
  {
    id: 'rvi-l1-only',
    values: onOff,
    since: 'long-standing',
    races: ['R30'],
    summary: 'the harvest writes RVI only with L1 active and APICv on',
  },
  {
    id: 'vmcs01-update-mode',
    values: ['on-demand', 'defer', 'no-threshold', 'drop'],
    since:
      'no-threshold up to v5.4; defer v5.5 (TPR threshold) and v5.8 (a flag for the reload, made in every case before); on-demand with the series of January 2026 (k7.0)',
    races: ['R05', 'R53'],
    summary:
      'what becomes of a change of a vmcs01 field while L2 runs: vmcs01 is loaded for the moment, it gets the value when L2 ends, the same but the TPR threshold is lost, or every change is',
  },
  {
    id: 'svi-l2-policy',
    values: ['on-demand', 'defer', 'write-loaded'],
    since:
      'write-loaded c7c9c56ca26f; defer 04bc93cf49d1 (v6.14, stable 6.13); on-demand f0044429b257',
    races: ['R32'],
    summary:
      'where a change of the highest vector in service goes while L2 runs: into vmcs01, loaded for the moment; into vmcs01 when L2 ends; or into the loaded VMCS, which is that of L2',
  },
  {
    id: 'apicv-refresh-on-exit',
    values: ['immediate', 'request'],
    since: 'immediate 29763138830916, v6.19',
    races: ['R51'],
    summary:
      'how vmcs01 follows, when L2 ends, a change of apicv_active made while L2 ran: its controls are written, or APICV_UPDATE is made, which finds nothing to do',
  },
  {
    id: 'event-on-nested-entry',
    values: onOff,
    since: 'long-standing',
    races: ['R42'],
    summary: 'an entry into L2 makes EVENT if L1 has an interrupt, a window, INIT or SIPI pending',
  },
  {
    id: 'event-on-nested-exit',
    values: onOff,
    since: 'long-standing',
    races: ['R42'],
    summary: 'an exit from L2 to L1 makes EVENT if something can be injected into L1',
  },
  {
    id: 'eoi-bitmap-defer-in-l2',
    values: onOff,
    since: 'long-standing (version unverified)',
    races: ['R64'],
    summary:
      'while L2 runs a change of the EOI-exit bitmap waits until L2 ends; off, it is written into the loaded VMCS, which is that of L2',
  },
  {
    id: 'nested-pi-mb',
    values: onOff,
    since: '83c98007d9fb, v5.17',
    races: ['R31'],
    summary:
      'a barrier between EVENT, made by the sender of a notification for L2, and its look at the mode of the vCPU; off, pi_pending and EVENT are still in its store buffer then. A locked instruction does the same on x86',
  },
  {
    id: 'nested-pi-cached-nv',
    values: onOff,
    since: 'always; hardened 1ed0f119c5ff (v6.12 cycle)',
    races: ['R34'],
    summary:
      'a sender compares its vector with the copy in posted_intr_nv; off, it reads vmcs12, which only the thread of the vCPU may touch',
  },
  {
    id: 'nested-nv-invalidated',
    values: onOff,
    since: '1ed0f119c5ff, v6.12 cycle',
    races: ['R34'],
    summary:
      'an entry into an L2 without posted interrupts sets posted_intr_nv to −1; off, the vector of an earlier entry stays',
  },
  {
    id: 'nv-irq-morph',
    values: ['at-exit-injection', 'at-entry', 'off'],
    since:
      'at-entry 25bb2cf97139 (v5.10), taken away by 3d91521e57df (v6.14); at-exit-injection 6e0b456547f4 (v6.12 cycle)',
    races: ['R35', 'R36'],
    summary:
      'where a pending interrupt of L1 with the notification vector of L2 becomes a notification: where it would end L2, only right behind VMLAUNCH and VMRESUME, or nowhere',
  },
  {
    id: 'nested-has-events',
    values: onOff,
    since: '27c4fa42b11a, v6.11 cycle',
    races: ['R37'],
    summary: 'what wakes a halted L2 includes what L1 has posted in the descriptor of L2',
  },
  {
    id: 'ack-after-vmcs01',
    values: onOff,
    since: 'always (kept by the v6.12-cycle rework)',
    races: ['R33'],
    summary:
      'the interrupt that ends L2 is put in service when vmcs01 is loaded; off, while vmcs02 is',
  },
  {
    id: 'nested-run-pending-block',
    values: onOff,
    since: 'long-standing',
    races: ['R41'],
    summary: 'an entry into L2 that is committed takes place before an event may end L2',
  },
  {
    id: 'block-ignore-ebusy',
    values: onOff,
    since: 'ead63640d4e7, k7.0',
    races: ['R45'],
    summary:
      'vcpu_block goes on when an event of a halted L2 has to wait; off, it warns and returns to user space',
  },
  {
    id: 'get-pages-request-on-restore',
    values: onOff,
    since: 'v5.x; always re-requested since 2020/21',
    races: ['R44'],
    summary: 'restoring an active L2 makes GET_NESTED_STATE_PAGES: vmcs02 holds no address yet',
  },
] as const satisfies readonly Switch[];
