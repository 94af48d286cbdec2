// The processor as L1 sees it that is itself a guest of KVM.

import { adapter, type Give, unused } from '../adapter.ts';
import { type L1Bench, prepare } from './bench.ts';
import { expects } from './expects.ts';
import { ops } from './ops.ts';

/** The one word that the cases have for a key. */
const only =
  (word: unknown): Give<L1Bench> =>
  (_, value) => {
    if (JSON.stringify(value) !== JSON.stringify(word)) {
      throw new Error(`no adapter knows given ${JSON.stringify(value)}`);
    }
  };

export const nestedL1View = adapter<L1Bench>({
  model: 'vmx-nested-l1view',
  prepare,
  givens: {
    // Read where L1 and its memory are made.
    controls: unused,
    cpus: unused,
    handler: unused,
    l1_lapic: unused,
    msr_bitmap: unused,
    posted_intr_notification_vector: unused,
    rflags_if: unused,
    rvi: unused,
    svi: unused,
    vapic: unused,
    activity: only('active'),
    eoi_exit_bitmap: only([]),
    handler_gate: only('interrupt (IF=0 while it runs)'),
  },
  ops,
  expects,
});
