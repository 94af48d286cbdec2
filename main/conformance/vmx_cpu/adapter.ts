// The model `vmx-cpu`: the processor in VMX non-root operation and at VM entry.

import { type Adapter, adapter } from '../adapter.ts';
import { type CpuBench, prepare, wordsOf } from './bench.ts';
import { expects } from './expects.ts';
import { givens } from './givens.ts';
import { executeAndReenter, instructionOps, ops } from './ops.ts';

export const vmxCpu: Adapter = adapter<CpuBench>({
  model: 'vmx-cpu',
  prepare,
  givens,
  ops,
  expects,
  before: (bench) => {
    bench.before = wordsOf(bench);
  },
  suites: {
    // "After a step that exits the hypervisor re-enters at once."
    'vmx.vid.random_sequences': { ops: instructionOps(executeAndReenter) },
  },
});
