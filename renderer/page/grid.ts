// Where each of the 256 vectors of a vCPU stands.

import type { VcpuView } from '../../main/sim/state/machine.ts';

export const stations = ['PIR', 'IRR', 'ISR', 'TMR'] as const;
export type Station = (typeof stations)[number];

export interface VectorCell {
  readonly vector: number;
  readonly at: readonly Station[];
  /** RVI or SVI of the loaded VMCS */
  readonly status: readonly ('RVI' | 'SVI')[];
}

/** RVI in the low byte, SVI in the high one. */
const statusOf = (vcpu: VcpuView, vector: number): VectorCell['status'] => {
  const status = vcpu.vmcs01.guest_intr_status;
  const found: ('RVI' | 'SVI')[] = [];
  if (vector !== 0 && (status & 0xff) === vector) found.push('RVI');
  if (vector !== 0 && status >>> 8 === vector) found.push('SVI');
  return found;
};

export const gridOf = (vcpu: VcpuView): VectorCell[] =>
  Array.from({ length: 256 }, (_, vector) => ({
    vector,
    at: stations.filter((station) => {
      switch (station) {
        case 'PIR':
          return vcpu.pi_desc.pir.has(vector);
        case 'IRR':
          return vcpu.apic.irr.has(vector);
        case 'ISR':
          return vcpu.apic.isr.has(vector);
        default:
          return vcpu.apic.tmr.has(vector);
      }
    }),
    status: statusOf(vcpu, vector),
  }));
