-- q01: lines by their number
SELECT ol_number, sum(ol_quantity) AS quantity, sum(ol_amount) AS amount, avg(ol_quantity) AS mean_quantity,
    avg(ol_amount) AS mean_amount, count(*) AS lines
FROM perf_order_line WHERE ol_delivery_d > timestamptz '2007-01-02 00:00:00+00'
GROUP BY ol_number ORDER BY ol_number;
-- q02: who in Europe has least of an item
SELECT su_suppkey, su_name, n_name, i_id, i_name, su_address, su_phone
FROM perf_item, perf_supplier, perf_stock, perf_nation, perf_region,
    (SELECT s_i_id AS m_i_id, min(s_quantity) AS m_quantity FROM perf_stock, perf_supplier, perf_nation, perf_region
     WHERE s_w_id * s_i_id % 10000 = su_suppkey AND su_nationkey = n_nationkey AND n_regionkey = r_regionkey
         AND r_name = 'EUROPE' GROUP BY s_i_id) m
WHERE i_id = s_i_id AND s_w_id * s_i_id % 10000 = su_suppkey AND su_nationkey = n_nationkey
    AND n_regionkey = r_regionkey AND i_data LIKE '%b' AND r_name = 'EUROPE' AND i_id = m_i_id
    AND s_quantity = m_quantity
ORDER BY n_name, su_name, i_id;
-- q03: what orders that wait are worth
SELECT ol_o_id, ol_w_id, ol_d_id, sum(ol_amount) AS revenue, o_entry_d
FROM perf_customer, perf_new_order, perf_orders, perf_order_line
WHERE c_state LIKE 'a%' AND c_id = o_c_id AND c_w_id = o_w_id AND c_d_id = o_d_id AND no_w_id = o_w_id
    AND no_d_id = o_d_id AND no_o_id = o_id AND ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
    AND o_entry_d > timestamptz '2007-01-02 00:00:00+00'
GROUP BY ol_o_id, ol_w_id, ol_d_id, o_entry_d ORDER BY revenue DESC, o_entry_d, ol_o_id, ol_w_id, ol_d_id;
-- q04: orders that were delivered late, by their lines
SELECT o_ol_cnt, count(*) AS orders FROM perf_orders
WHERE o_entry_d >= timestamptz '2007-01-02 00:00:00+00' AND EXISTS (SELECT * FROM perf_order_line
    WHERE o_id = ol_o_id AND o_w_id = ol_w_id AND o_d_id = ol_d_id AND ol_delivery_d >= o_entry_d)
GROUP BY o_ol_cnt ORDER BY o_ol_cnt;
-- q05: revenue of nations from their own suppliers
SELECT n_name, sum(ol_amount) AS revenue
FROM perf_customer, perf_orders, perf_order_line, perf_stock, perf_supplier, perf_nation, perf_region
WHERE c_id = o_c_id AND c_w_id = o_w_id AND c_d_id = o_d_id AND ol_o_id = o_id AND ol_w_id = o_w_id
    AND ol_d_id = o_d_id AND ol_w_id = s_w_id AND ol_i_id = s_i_id AND s_w_id * s_i_id % 10000 = su_suppkey
    AND ascii(substr(c_state, 1, 1)) = su_nationkey AND su_nationkey = n_nationkey AND n_regionkey = r_regionkey
    AND r_name = 'EUROPE' AND o_entry_d >= timestamptz '2007-01-02 00:00:00+00'
GROUP BY n_name ORDER BY revenue DESC, n_name;
-- q06: revenue of lines of some quantities
SELECT sum(ol_amount) AS revenue FROM perf_order_line
WHERE ol_delivery_d >= timestamptz '1999-01-01 00:00:00+00' AND ol_delivery_d < timestamptz '2100-01-01 00:00:00+00'
    AND ol_quantity BETWEEN 1 AND 100000;
-- q07: revenue between two nations
SELECT su_nationkey AS supplier_nation, substr(c_state, 1, 1) AS customer_nation,
    extract(year FROM o_entry_d) AS year, sum(ol_amount) AS revenue
FROM perf_supplier, perf_stock, perf_order_line, perf_orders, perf_customer, perf_nation n1, perf_nation n2
WHERE ol_supply_w_id = s_w_id AND ol_i_id = s_i_id AND s_w_id * s_i_id % 10000 = su_suppkey AND ol_w_id = o_w_id
    AND ol_d_id = o_d_id AND ol_o_id = o_id AND c_id = o_c_id AND c_w_id = o_w_id AND c_d_id = o_d_id
    AND su_nationkey = n1.n_nationkey AND ascii(substr(c_state, 1, 1)) = n2.n_nationkey
    AND (n1.n_name = 'NATION c' AND n2.n_name = 'NATION d' OR n1.n_name = 'NATION d' AND n2.n_name = 'NATION c')
GROUP BY su_nationkey, substr(c_state, 1, 1), extract(year FROM o_entry_d)
ORDER BY su_nationkey, customer_nation, year;
-- q08: a nation's share of the market
SELECT extract(year FROM o_entry_d) AS year,
    sum(CASE WHEN n2.n_name = 'NATION c' THEN ol_amount ELSE 0 END) / sum(ol_amount) AS share
FROM perf_item, perf_supplier, perf_stock, perf_order_line, perf_orders, perf_customer, perf_nation n1,
    perf_nation n2, perf_region
WHERE i_id = s_i_id AND ol_i_id = s_i_id AND ol_supply_w_id = s_w_id AND s_w_id * s_i_id % 10000 = su_suppkey
    AND ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id AND c_id = o_c_id AND c_w_id = o_w_id
    AND c_d_id = o_d_id AND n1.n_nationkey = ascii(substr(c_state, 1, 1)) AND n1.n_regionkey = r_regionkey
    AND ol_i_id < 1000 AND r_name = 'EUROPE' AND su_nationkey = n2.n_nationkey AND i_data LIKE '%b'
GROUP BY extract(year FROM o_entry_d) ORDER BY year;
-- q09: revenue of nations by year, of some items
SELECT n_name, extract(year FROM o_entry_d) AS year, sum(ol_amount) AS profit
FROM perf_item, perf_stock, perf_supplier, perf_order_line, perf_orders, perf_nation
WHERE ol_i_id = s_i_id AND ol_supply_w_id = s_w_id AND s_w_id * s_i_id % 10000 = su_suppkey AND ol_w_id = o_w_id
    AND ol_d_id = o_d_id AND ol_o_id = o_id AND ol_i_id = i_id AND su_nationkey = n_nationkey AND i_data LIKE '%bb%'
GROUP BY n_name, extract(year FROM o_entry_d) ORDER BY n_name, year DESC;
-- q10: customers by what they have bought
SELECT c_id, c_w_id, c_d_id, c_last, sum(ol_amount) AS revenue, c_city, c_phone, n_name
FROM perf_customer, perf_orders, perf_order_line, perf_nation
WHERE c_id = o_c_id AND c_w_id = o_w_id AND c_d_id = o_d_id AND ol_w_id = o_w_id AND ol_d_id = o_d_id
    AND ol_o_id = o_id AND o_entry_d >= timestamptz '2007-01-02 00:00:00+00' AND o_entry_d <= ol_delivery_d
    AND n_nationkey = ascii(substr(c_state, 1, 1))
GROUP BY c_id, c_w_id, c_d_id, c_last, c_city, c_phone, n_name ORDER BY revenue DESC, c_w_id, c_d_id, c_id LIMIT 100;
-- q11: items that are a large part of a nation's stock
SELECT s_i_id, sum(s_order_cnt) AS orders FROM perf_stock, perf_supplier, perf_nation
WHERE s_w_id * s_i_id % 10000 = su_suppkey AND su_nationkey = n_nationkey AND n_name = 'NATION d'
GROUP BY s_i_id HAVING sum(s_order_cnt) > (SELECT sum(s_order_cnt) * 0.005 FROM perf_stock, perf_supplier, perf_nation
    WHERE s_w_id * s_i_id % 10000 = su_suppkey AND su_nationkey = n_nationkey AND n_name = 'NATION d')
ORDER BY orders DESC, s_i_id;
-- q12: fast and slow carriers
SELECT o_ol_cnt, sum(CASE WHEN o_carrier_id IN (1, 2) THEN 1 ELSE 0 END) AS fast,
    sum(CASE WHEN o_carrier_id NOT IN (1, 2) THEN 1 ELSE 0 END) AS slow
FROM perf_orders, perf_order_line
WHERE ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id AND o_entry_d <= ol_delivery_d
    AND ol_delivery_d < timestamptz '2100-01-01 00:00:00+00'
GROUP BY o_ol_cnt ORDER BY o_ol_cnt;
-- q13: customers by how many orders they have
SELECT orders, count(*) AS customers FROM
    (SELECT c_id, count(o_id) AS orders FROM perf_customer LEFT JOIN perf_orders
         ON c_w_id = o_w_id AND c_d_id = o_d_id AND c_id = o_c_id AND o_carrier_id > 8
     GROUP BY c_id, c_w_id, c_d_id) AS by_customer
GROUP BY orders ORDER BY customers DESC, orders DESC;
-- q14: what promotions are worth
SELECT 100.00 * sum(CASE WHEN i_data LIKE 'pr%' THEN ol_amount ELSE 0 END) / (1 + sum(ol_amount)) AS promoted
FROM perf_order_line, perf_item
WHERE ol_i_id = i_id AND ol_delivery_d >= timestamptz '2007-01-02 00:00:00+00'
    AND ol_delivery_d < timestamptz '2100-01-02 00:00:00+00';
-- q15: the suppliers that earn most
WITH revenue AS (SELECT s_w_id * s_i_id % 10000 AS supplier_no, sum(ol_amount) AS total
    FROM perf_order_line, perf_stock WHERE ol_i_id = s_i_id AND ol_supply_w_id = s_w_id
        AND ol_delivery_d >= timestamptz '2007-01-02 00:00:00+00' GROUP BY s_w_id * s_i_id % 10000)
SELECT su_suppkey, su_name, su_address, su_phone, total FROM perf_supplier, revenue
WHERE su_suppkey = supplier_no AND total = (SELECT max(total) FROM revenue) ORDER BY su_suppkey;
-- q16: how many suppliers have items
SELECT i_name, substr(i_data, 1, 3) AS brand, i_price, count(DISTINCT s_w_id * s_i_id % 10000) AS suppliers
FROM perf_stock, perf_item
WHERE i_id = s_i_id AND i_data NOT LIKE 'zz%' AND s_w_id * s_i_id % 10000 NOT IN
    (SELECT su_suppkey FROM perf_supplier WHERE su_comment LIKE '%bad%')
GROUP BY i_name, substr(i_data, 1, 3), i_price ORDER BY suppliers DESC, i_name, brand, i_price LIMIT 100;
-- q17: revenue of small orders
SELECT sum(ol_amount) / 2.0 AS yearly FROM perf_order_line,
    (SELECT i_id, avg(ol_quantity) AS mean FROM perf_item, perf_order_line
     WHERE i_data LIKE '%b' AND ol_i_id = i_id GROUP BY i_id) t
WHERE ol_i_id = t.i_id AND ol_quantity <= t.mean;
-- q18: customers with large orders
SELECT c_last, c_id, o_id, o_entry_d, o_ol_cnt, sum(ol_amount) AS amount
FROM perf_customer, perf_orders, perf_order_line
WHERE c_id = o_c_id AND c_w_id = o_w_id AND c_d_id = o_d_id AND ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_o_id = o_id
GROUP BY o_id, o_w_id, o_d_id, c_id, c_last, o_entry_d, o_ol_cnt HAVING sum(ol_amount) > 60000
ORDER BY amount DESC, o_entry_d, o_id, c_id LIMIT 100;
-- q19: revenue of some items at some prices
SELECT sum(ol_amount) AS revenue FROM perf_order_line, perf_item
WHERE ol_i_id = i_id AND (i_data LIKE '%a' AND ol_quantity BETWEEN 4 AND 9 AND i_price BETWEEN 1 AND 40
    OR i_data LIKE '%b' AND ol_quantity BETWEEN 1 AND 10 AND i_price BETWEEN 1 AND 60
    OR i_data LIKE '%c' AND ol_quantity BETWEEN 5 AND 10 AND i_price BETWEEN 1 AND 80);
-- q20: suppliers in a nation with more than they sell
SELECT su_name, su_address FROM perf_supplier, perf_nation
WHERE su_suppkey IN (SELECT s_i_id * s_w_id % 10000 FROM perf_stock, perf_order_line
        WHERE s_i_id IN (SELECT i_id FROM perf_item WHERE i_data LIKE 'co%') AND ol_i_id = s_i_id
            AND ol_delivery_d > timestamptz '2010-05-23 12:00:00+00'
        GROUP BY s_i_id, s_w_id, s_quantity HAVING 2 * s_quantity > sum(ol_quantity))
    AND su_nationkey = n_nationkey AND n_name = 'NATION d'
ORDER BY su_name;
-- q21: suppliers that alone kept orders waiting
SELECT su_name, count(*) AS waited FROM perf_supplier, perf_order_line l1, perf_orders, perf_stock, perf_nation
WHERE ol_o_id = o_id AND ol_w_id = o_w_id AND ol_d_id = o_d_id AND ol_w_id = s_w_id AND ol_i_id = s_i_id
    AND s_w_id * s_i_id % 10000 = su_suppkey AND l1.ol_delivery_d >= o_entry_d
    AND NOT EXISTS (SELECT * FROM perf_order_line l2 WHERE l2.ol_o_id = l1.ol_o_id AND l2.ol_w_id = l1.ol_w_id
        AND l2.ol_d_id = l1.ol_d_id AND l2.ol_delivery_d > l1.ol_delivery_d)
    AND su_nationkey = n_nationkey AND n_name = 'NATION d'
GROUP BY su_name ORDER BY waited DESC, su_name LIMIT 100;
-- q22: customers with money but without new orders, by their phone
SELECT substr(c_state, 1, 1) AS country, count(*) AS customers, sum(c_balance) AS balance FROM perf_customer
WHERE substr(c_phone, 1, 1) IN ('1', '2', '3', '4', '5', '6', '7')
    AND c_balance > (SELECT avg(c_balance) FROM perf_customer WHERE c_balance > 0.00
        AND substr(c_phone, 1, 1) IN ('1', '2', '3', '4', '5', '6', '7'))
    AND NOT EXISTS (SELECT * FROM perf_orders WHERE o_c_id = c_id AND o_w_id = c_w_id AND o_d_id = c_d_id
        AND o_carrier_id IS NULL)
GROUP BY substr(c_state, 1, 1) ORDER BY country;
