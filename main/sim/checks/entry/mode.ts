/** `mode` belongs to its vCPU. */
import { vcpuMode } from '../../state/vcpu.ts';
import type { Check } from '../check.ts';
import { violated } from '../violation.ts';

export const inv_mode_foreign_write: Check = {
  id: 'inv-mode-foreign-write',
  when: 'step',
  per: 'machine',
  summary:
    'another thread changes the mode of a vCPU only from IN_GUEST_MODE to EXITING_GUEST_MODE',
  why: 'the handshake between entry and kick relies on it',
  races: ['R10'],
  reads: ['vm.spec.foreign_mode_writes'],
  broken(m) {
    return m.vm.spec.foreign_mode_writes === 0
      ? undefined
      : violated('another thread wrote the mode of a vCPU', 'vm.spec.foreign_mode_writes');
  },
};

export const inv_mode_irqs: Check = {
  id: 'inv-mode-irqs',
  when: 'step',
  per: 'vcpu',
  summary: 'while mode is IN_GUEST_MODE, interrupts of the physical CPU are off or the guest runs',
  why: 'an IPI that the host takes between the mode store and the entry is lost for the guest',
  races: ['R12'],
  reads: ['vcpu[*].mode', 'vcpu[*].non_root', 'vcpu[*].cpu', 'cpu[*].irqs_on'],
  broken(m, index) {
    const vcpu = m.vcpu[index]!;
    if (vcpu.mode !== vcpuMode.IN_GUEST_MODE || vcpu.non_root) return undefined;
    return m.cpu[vcpu.cpu]?.irqs_on === true
      ? violated(
          `vCPU ${index} is IN_GUEST_MODE with interrupts on`,
          `vcpu[${index}].mode`,
          `cpu[${vcpu.cpu}].irqs_on`,
        )
      : undefined;
  },
};
