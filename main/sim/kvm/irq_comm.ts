/** Message-signalled interrupts, and the routes of an IOAPIC that user space emulates. */
import { APIC_DEST_LOGICAL, APIC_DEST_NOSHORT } from '../state/apicdef.ts';
import { kvm, type Machine } from '../steps.ts';
import { EINVAL, EWOULDBLOCK } from './errno.ts';
import { kvm_scan_ioapic_irq } from './ioapic.ts';
import { type KvmLapicIrq, noSource } from './lapic/destination.ts';
import {
  kvm_irq_delivery_to_apic,
  kvm_irq_delivery_to_apic_fast,
  NOT_MAPPED,
} from './lapic/ipi.ts';

const file = 'arch/x86/kvm/irq_comm.c';

/** An MSI as the device writes it. */
export interface Msi {
  readonly address_lo: number;
  readonly address_hi: number;
  readonly data: number;
}

const msiAddress = { LOGICAL: 1 << 2, REDIRECTION_HINT: 1 << 3, DEST_SHIFT: 12 } as const;
const msiData = { VECTOR: 0xff, DELIVERY_MODE: 7 << 8, LEVEL: 1 << 15 } as const;
/** Bits of the high address that a 32-bit destination leaves reserved. */
const addressHiReserved = 0xff;

/** @kvm arch/x86/kvm/irq_comm.c */
export const kvm_set_msi_irq = (m: Machine, { address_lo, address_hi, data }: Msi): KvmLapicIrq => {
  const dest = (address_lo >>> msiAddress.DEST_SHIFT) & 0xff;
  const extended = m.vm.x2apic_format ? address_hi & ~addressHiReserved : 0;
  return {
    vector: data & msiData.VECTOR,
    delivery_mode: data & msiData.DELIVERY_MODE,
    dest_mode: (address_lo & msiAddress.LOGICAL) === 0 ? 0 : APIC_DEST_LOGICAL,
    shorthand: APIC_DEST_NOSHORT,
    level: true,
    trig_mode: (data & msiData.LEVEL) !== 0,
    dest_id: (dest | extended) >>> 0,
    msi_redir_hint: (address_lo & msiAddress.REDIRECTION_HINT) !== 0,
  };
};

/** @kvm arch/x86/kvm/irq_comm.c */
const kvm_msi_route_invalid = (m: Machine, { address_hi }: Msi): boolean =>
  m.vm.x2apic_format && (address_hi & addressHiReserved) !== 0;

/** Delivers an MSI: how many vCPUs took it, −1 for no target, −EINVAL for reserved bits. */
export const kvm_set_msi = kvm(file, function* kvm_set_msi(m: Machine, msi: Msi) {
  if (kvm_msi_route_invalid(m, msi)) return -EINVAL;
  const result: number = yield* kvm_irq_delivery_to_apic(m, noSource, kvm_set_msi_irq(m, msi));
  return result;
});

/** The same where nobody may sleep: −EWOULDBLOCK if not even the map of the APICs has an answer. */
export const kvm_arch_set_irq_inatomic = kvm(
  file,
  function* kvm_arch_set_irq_inatomic(m: Machine, msi: Msi) {
    if (kvm_msi_route_invalid(m, msi)) return -EINVAL;
    const irq = kvm_set_msi_irq(m, msi);
    const result: number = yield* kvm_irq_delivery_to_apic_fast(m, noSource, irq, false);
    return result === NOT_MAPPED ? -EWOULDBLOCK : result;
  },
);

/** Split irqchip: the routes of the pins tell which EOIs user space must hear of. */
export const kvm_scan_ioapic_routes = kvm(
  file,
  function* kvm_scan_ioapic_routes(m: Machine, vcpu: number) {
    yield m.step('look at all routes, and at what the vCPU has pending');
    for (const route of m.vm.irq_routing) {
      if (!route.used) continue;
      const irq = kvm_set_msi_irq(m, route);
      if (irq.trig_mode) kvm_scan_ioapic_irq(m, vcpu, irq);
    }
  },
);
