/** KVM_HC_SEND_IPI: one hypercall sends to up to 128 APIC IDs. */
import {
  APIC_DEST_LOGICAL,
  APIC_DEST_NOSHORT,
  APIC_DEST_PHYSICAL,
  APIC_INT_ASSERT,
  APIC_INT_LEVELTRIG,
  APIC_MODE_MASK,
  APIC_SHORT_MASK,
  APIC_VECTOR_MASK,
} from '../../state/apicdef.ts';
import { kvm, type Machine } from '../../steps.ts';
import { EINVAL, EOPNOTSUPP } from '../errno.ts';
import { physMapOf } from './apic_map.ts';
import type { KvmLapicIrq } from './destination.ts';
import { toEachOf } from './ipi.ts';

const file = 'arch/x86/kvm/lapic.c';

/** A register of the hypercall. */
export interface Halves {
  readonly low: number;
  readonly high: number;
}

const isNamed = ({ low, high }: Halves, bit: number): boolean =>
  (((bit < 32 ? low : high) >>> (bit & 31)) & 1) !== 0;

/** Mask of the vCPUs whose IDs are `min` plus the numbers of the bits. */
const vcpusNamed = (m: Machine, bitmap: Halves, min: number): number => {
  const { apic_map: map } = m.vm;
  let mask = 0;
  for (let bit = 0; bit < 64 && min + bit <= map.max_apic_id; bit++) {
    if (!isNamed(bitmap, bit)) continue;
    const vcpu = physMapOf(map, min + bit);
    if (vcpu >= 0) mask |= 1 << vcpu;
  }
  return mask;
};

/** How many vCPUs took the interrupt; −EINVAL, or −EOPNOTSUPP without a map. */
export const kvm_pv_send_ipi = kvm(
  file,
  function* kvm_pv_send_ipi(
    m: Machine,
    [a0, a1]: readonly [Halves, Halves],
    min: number,
    icr: number,
    longMode: boolean,
  ) {
    if ((icr & (APIC_DEST_LOGICAL | APIC_SHORT_MASK)) !== 0) return -EINVAL;
    const irq: KvmLapicIrq = {
      vector: icr & APIC_VECTOR_MASK,
      delivery_mode: icr & APIC_MODE_MASK,
      dest_mode: APIC_DEST_PHYSICAL,
      shorthand: APIC_DEST_NOSHORT,
      level: (icr & APIC_INT_ASSERT) !== 0,
      trig_mode: (icr & APIC_INT_LEVELTRIG) !== 0,
      dest_id: 0,
      msi_redir_hint: false,
    };
    yield m.step('read apic_map');
    if (!m.vm.apic_map.valid) return -EOPNOTSUPP;
    const first = vcpusNamed(m, a0, min);
    const second = vcpusNamed(m, a1, (min + (longMode ? 64 : 32)) >>> 0);
    const count: number = yield* toEachOf(m, first, irq, false);
    return count + (yield* toEachOf(m, second, irq, false));
  },
);
