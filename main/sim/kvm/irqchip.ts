/** Global interrupts: what a GSI stands for, and how user space changes it. */
import { KVM_REQ } from '../state/requests.ts';
import { irqchipMode } from '../state/vm.ts';
import { kvm, type Machine } from '../steps.ts';
import { kvm_ioapic_set_irq } from './ioapic.ts';
import { kvm_set_msi, type Msi } from './irq_comm.ts';
import { kvm_make_all_cpus_request } from './kvm_main.ts';

const file = 'virt/kvm/irqchip.c';

/** The MSI of a GSI as it is routed now; undefined if it has none. */
export const msiOfGsi = (m: Machine, gsi: number): Msi | undefined => {
  const { used, address_lo, address_hi, data } = m.vm.irq_routing[gsi]!;
  return used ? { address_lo, address_hi, data } : undefined;
};

/**
 * A GSI changes its level; what the delivery gives, −1 if it goes nowhere. A GSI without a route of
 * its own is a pin of the IOAPIC in KVM.
 * @omits the pins of the PICs
 */
export const kvm_set_irq = kvm(
  file,
  function* kvm_set_irq(m: Machine, gsi: number, level: number, lineStatus?: boolean) {
    yield m.step('look up the route of GSI {gsi}', gsi);
    const msi = msiOfGsi(m, gsi);
    if (msi !== undefined) {
      if (level === 0) return -1;
      return (yield* kvm_set_msi(m, msi)) as number;
    }
    if (m.vm.irqchip_mode !== irqchipMode.KERNEL) return -1;
    return (yield* kvm_ioapic_set_irq(m, gsi, level, lineStatus)) as number;
  },
);

/** With the IOAPIC in user space the routes are its pins: each vCPU looks at them again. */
const kvm_arch_post_irq_routing_update = kvm(
  'arch/x86/kvm/irq_comm.c',
  function* kvm_arch_post_irq_routing_update(m: Machine) {
    if (m.vm.irqchip_mode !== irqchipMode.SPLIT) return;
    yield* kvm_make_all_cpus_request(m, KVM_REQ.SCAN_IOAPIC);
  },
);

/**
 * KVM_SET_GSI_ROUTING with one entry that differs; `undefined` takes the route of the GSI away.
 * @omits irq_lock, and the wait for those who still read the old table
 */
export const kvm_set_irq_routing = kvm(
  file,
  function* kvm_set_irq_routing(m: Machine, gsi: number, msi: Msi | undefined) {
    yield m.step('publish the table with another route of GSI {gsi}', gsi);
    const route = m.vm.irq_routing[gsi]!;
    route.used = msi !== undefined;
    if (msi !== undefined) {
      route.address_lo = msi.address_lo;
      route.address_hi = msi.address_hi;
      route.data = msi.data;
    }
    yield* kvm_arch_post_irq_routing_update(m);
  },
);
